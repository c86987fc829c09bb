package checkpoint_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/shannon-control/scu/trainer/checkpoint"
	"github.com/shannon-control/scu/trainer/control"
)

func state(step int) checkpoint.State {
	before := 3.25
	return checkpoint.State{Run: "run", Step: step, Tokens: int64(step) * 100, Control: control.State{Lambda: 0.1 + 0.2, SHat: 1. / 3, Started: true},
		AtBound: 3, Losses: checkpoint.Losses{Before: &before}, Param: []float32{1, float32(step)}, M: []float32{3, 4}, V: []float32{5, 6}, Metrics: []byte("0,1\n")}
}

func TestNewestGoodOneCounts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "job")
	if _, ok, problems := checkpoint.Load(dir, "run", 2); ok || len(problems) > 0 {
		t.Fatalf("found something in no folder: %v", problems)
	}
	for _, step := range []int{10, 20, 30} {
		if err := checkpoint.Save(dir, state(step)); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "run", "*"))
	if len(files) != 2 {
		t.Fatalf("kept %v", files)
	}
	got, ok, problems := checkpoint.Load(dir, "run", 2)
	if !ok || len(problems) > 0 || !reflect.DeepEqual(got, state(30)) {
		t.Fatalf("loaded %+v, %v", got, problems)
	}

	// One flipped bit anywhere, and the one before it counts.
	b, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{9, len(b) / 2, len(b) - 1} {
		bad := append([]byte(nil), b...)
		bad[at] ^= 4
		if err := os.WriteFile(files[1], bad, 0o600); err != nil {
			t.Fatal(err)
		}
		got, ok, problems := checkpoint.Load(dir, "run", 2)
		if !ok || got.Step != 20 || len(problems) != 1 {
			t.Errorf("bit %d flipped: step %d, problems %v", at, got.Step, problems)
		}
	}
	if err := os.WriteFile(files[1], b[:len(b)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if got, ok, _ := checkpoint.Load(dir, "run", 2); !ok || got.Step != 20 {
		t.Errorf("truncated: step %d", got.Step)
	}
}

func TestAnotherRunsStateIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	if err := checkpoint.Save(dir, state(10)); err != nil {
		t.Fatal(err)
	}
	if _, ok, problems := checkpoint.Load(dir, "run", 3); ok || len(problems) != 1 {
		t.Errorf("another adapter: taken %v, problems %v", ok, problems)
	}
	if _, ok, problems := checkpoint.Load(dir, "other", 2); ok || len(problems) > 0 {
		t.Errorf("another run: taken %v, problems %v", ok, problems)
	}
	if err := os.Rename(filepath.Join(dir, "run"), filepath.Join(dir, "moved")); err != nil {
		t.Fatal(err)
	}
	if _, ok, problems := checkpoint.Load(dir, "moved", 2); ok || len(problems) != 1 {
		t.Errorf("another run's in its folder: taken %v, problems %v", ok, problems)
	}
}

// Two runs of a job, on devices of two kinds, leave each other's checkpoints alone
// and know of each other.
func TestRunsOfAJobStandSideBySide(t *testing.T) {
	dir := t.TempDir()
	for _, step := range []int{10, 20, 30} {
		one, two := state(step), state(step+1)
		two.Run, two.Device, two.Version = "two", "another device", "v2"
		for _, s := range []checkpoint.State{one, two} {
			if err := checkpoint.Save(dir, s); err != nil {
				t.Fatal(err)
			}
		}
	}
	for run, step := range map[string]int{"run": 30, "two": 31} {
		if got, ok, problems := checkpoint.Load(dir, run, 2); !ok || got.Step != step || len(problems) > 0 {
			t.Errorf("%s: loaded %v, step %d, problems %v", run, ok, got.Step, problems)
		}
	}
	others := checkpoint.Others(dir, "run")
	if len(others) != 1 || others[0].Step != 31 || others[0].Device != "another device" || others[0].Version != "v2" {
		t.Errorf("others %+v", others)
	}
	if others := checkpoint.Others(filepath.Join(dir, "none"), "run"); len(others) > 0 {
		t.Errorf("others in no folder: %+v", others)
	}
}

// A run that began again, since all its checkpoints were damaged, keeps its own,
// however far those were.
func TestABegunAgainRunKeepsItsOwn(t *testing.T) {
	dir := t.TempDir()
	for _, step := range []int{400, 500} {
		if err := checkpoint.Save(dir, state(step)); err != nil {
			t.Fatal(err)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "run", "*"))
	for _, f := range files {
		if err := os.Truncate(f, 100); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok, problems := checkpoint.Load(dir, "run", 2); ok || len(problems) != 2 {
		t.Fatalf("damaged ones: taken %v, problems %v", ok, problems)
	}
	for _, step := range []int{10, 20, 30} {
		again := state(step)
		again.Attempt = 1
		if err := checkpoint.Save(dir, again); err != nil {
			t.Fatal(err)
		}
		if got, ok, problems := checkpoint.Load(dir, "run", 2); !ok || got.Step != step || len(problems) > 0 {
			t.Errorf("after step %d: loaded %v, step %d, problems %v", step, ok, got.Step, problems)
		}
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "run", "*")); len(files) != 2 {
		t.Errorf("kept %v", files)
	}
}

// A trainer that was given up and wakes saves once more: its successor's stay, and count.
func TestAStaleAttemptRemovesNothingOfItsSuccessors(t *testing.T) {
	dir := t.TempDir()
	save := func(attempt, step int) {
		t.Helper()
		s := state(step)
		s.Attempt = attempt
		if err := checkpoint.Save(dir, s); err != nil {
			t.Fatal(err)
		}
	}
	save(1, 20)
	save(1, 30)
	save(2, 140)
	save(2, 150)
	for _, step := range []int{35, 40, 45, 160} {
		save(1, step)
		if got, ok, problems := checkpoint.Load(dir, "run", 2); !ok || got.Attempt != 2 || got.Step != 150 || len(problems) > 0 {
			t.Fatalf("after its step %d: loaded %v, attempt %d, step %d, problems %v", step, ok, got.Attempt, got.Step, problems)
		}
	}
	files, _ := filepath.Glob(filepath.Join(dir, "run", "*"))
	if len(files) != 4 {
		t.Errorf("kept %v", files)
	}
	save(2, 155)
	if files, _ = filepath.Glob(filepath.Join(dir, "run", "*")); len(files) != 2 {
		t.Errorf("kept %v", files)
	}
}

// Checkpoints of older versions have no attempt in their names.
func TestOlderNamesAreTaken(t *testing.T) {
	dir := t.TempDir()
	if err := checkpoint.Save(dir, state(10)); err != nil {
		t.Fatal(err)
	}
	run := filepath.Join(dir, "run")
	if err := os.Rename(filepath.Join(run, "000000-0000000010.safetensors"), filepath.Join(run, "0000000010.safetensors")); err != nil {
		t.Fatal(err)
	}
	if got, ok, problems := checkpoint.Load(dir, "run", 2); !ok || got.Step != 10 || len(problems) > 0 {
		t.Fatalf("loaded %v, step %d, problems %v", ok, got.Step, problems)
	}
	next := state(20)
	next.Attempt = 2
	if err := checkpoint.Save(dir, next); err != nil {
		t.Fatal(err)
	}
	if got, ok, _ := checkpoint.Load(dir, "run", 2); !ok || got.Step != 20 {
		t.Fatalf("loaded %v, step %d", ok, got.Step)
	}
}
