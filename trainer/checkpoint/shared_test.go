package checkpoint_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/blobs/folder"
	"github.com/shannon-control/scu/trainer/checkpoint"
)

// A trainer on another machine goes on from what the first one sent; of what is damaged
// there, from the one before.
func TestSharedCheckpoints(t *testing.T) {
	blobs, err := folder.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	shared, id := checkpoint.Shared{Blobs: blobs}, scu.NewJobID()
	here := filepath.Join(t.TempDir(), id)
	save := func(s checkpoint.State) {
		t.Helper()
		if err := errors.Join(checkpoint.Save(here, s), shared.Send(t.Context(), here, s)); err != nil {
			t.Fatal(err)
		}
	}
	names := func() (names []string) {
		t.Helper()
		err := scu.EachBlob(t.Context(), blobs, scu.CheckpointBlob, id, func(b scu.Blob) error {
			names = append(names, b.Key.Name)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	for _, step := range []int{10, 20, 30} {
		save(state(step))
	}
	if n := names(); len(n) != 2 {
		t.Fatalf("%q are kept, want the last two", n)
	}
	// elsewhere returns the step that a trainer with an empty folder goes on from.
	elsewhere := func(run string) (step, problems int) {
		t.Helper()
		there := filepath.Join(t.TempDir(), id)
		missed := shared.Fetch(t.Context(), there, run)
		s, _, damaged := checkpoint.Load(there, run, 2)
		return s.Step, len(missed) + len(damaged)
	}
	if step, problems := elsewhere("run"); step != 30 || problems != 0 {
		t.Errorf("goes on from %d, %d problems", step, problems)
	}
	damage := func(name string) {
		t.Helper()
		path, err := blobs.Path(scu.BlobKey{Kind: scu.CheckpointBlob, Name: name})
		if err == nil {
			err = os.Truncate(path, 100)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	damage(names()[1])
	if step, problems := elsewhere("run"); step != 20 || problems != 1 {
		t.Errorf("of a damaged one: goes on from %d, %d problems", step, problems)
	}
	save(state(30)) // the same bytes again
	if step, problems := elsewhere("run"); step != 30 || problems != 0 {
		t.Errorf("stored again: goes on from %d, %d problems", step, problems)
	}

	// One that is damaged here is fetched anew.
	local, err := filepath.Glob(filepath.Join(here, "run", "*30.safetensors"))
	if err != nil || len(local) != 1 {
		t.Fatal(local, err)
	}
	if err := os.Truncate(local[0], 100); err != nil {
		t.Fatal(err)
	}
	if problems := shared.Fetch(t.Context(), here, "run"); len(problems) != 0 {
		t.Error(problems)
	}
	if s, ok, problems := checkpoint.Load(here, "run", 2); !ok || s.Step != 30 || len(problems) != 0 {
		t.Errorf("from %d, %v", s.Step, problems)
	}

	// What an attempt that was given up sends removes nothing of its successor's.
	next := state(40)
	next.Attempt = 2
	save(next)
	late := state(50)
	save(late)
	if step, _ := elsewhere("run"); step != 40 {
		t.Errorf("a late word of attempt 0: goes on from %d", step)
	}

	// Another run has its own, and is told how far this one was.
	there := filepath.Join(t.TempDir(), id)
	if problems := shared.Fetch(t.Context(), there, "other"); len(problems) != 0 {
		t.Error(problems)
	}
	if others := checkpoint.Others(there, "other"); len(others) != 1 || others[0].Step != 40 {
		t.Errorf("%+v", others)
	}
	if err := shared.Remove(t.Context(), id); err != nil || len(names()) != 0 {
		t.Errorf("%q are left, %v", names(), err)
	}
}
