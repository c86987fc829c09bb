package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
)

// Shared keeps checkpoints where trainers on other machines find them, beside a job's
// folder here. A blob is called by the job, the run and the file.
type Shared struct{ Blobs scu.Blobs }

func sharedKey(jobID, run, name string) scu.BlobKey {
	return scu.BlobKey{Kind: scu.CheckpointBlob, Name: jobID + "." + run + "." + name}
}

// Send stores the checkpoint of s, which was saved in the job's folder, and removes those
// of its run that came before it, but for the last one.
func (h Shared) Send(ctx context.Context, job string, s State) error {
	jobID, name := filepath.Base(job), fileName(s)
	f, err := os.Open(filepath.Join(job, s.Run, name))
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := h.Blobs.Put(ctx, sharedKey(jobID, s.Run, name), f, scu.PutOptions{}); err != nil {
		return err
	}
	all, err := h.list(ctx, jobID, s.Run)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(o sharedFile) bool { return o.name == name })
	for _, old := range all[min(at+keep, len(all)):] {
		err = errors.Join(err, h.delete(ctx, old.Key))
	}
	return err
}

// sharedFile is a stored checkpoint, and how its file is called.
type sharedFile struct {
	scu.Blob
	run, name string
}

// list returns the stored checkpoints of a job, of one run or, if run is empty, of all, the
// newest first.
func (h Shared) list(ctx context.Context, jobID, run string) (all []sharedFile, err error) {
	prefix := jobID + "."
	if run != "" {
		prefix += run + "."
	}
	err = scu.EachBlob(ctx, h.Blobs, scu.CheckpointBlob, prefix, func(b scu.Blob) error {
		run, name, ok := strings.Cut(strings.TrimPrefix(b.Key.Name, jobID+"."), ".")
		if ok && strings.HasSuffix(name, suffix) {
			all = append(all, sharedFile{b, run, name})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b sharedFile) int { return cmp.Compare(rank(b.name), rank(a.name)) })
	return all, err
}

func (h Shared) delete(ctx context.Context, key scu.BlobKey) error {
	if err := h.Blobs.Delete(ctx, key); scu.CodeOf(err) != scu.CodeNotFound {
		return err
	}
	return nil
}

// Fetch brings the newest checkpoints of a run into the job's folder, if they aren't there
// whole; if there is none, the newest of each other run. Those that can't be had are told
// of, and passed over.
func (h Shared) Fetch(ctx context.Context, job, run string) (problems []error) {
	all, err := h.list(ctx, filepath.Base(job), "")
	if err != nil {
		return []error{err}
	}
	own := slices.ContainsFunc(all, func(f sharedFile) bool { return f.run == run })
	had := map[string]bool{} // runs of which one is here
	for _, f := range all {
		if own != (f.run == run) || had[f.run] {
			continue
		}
		if err := h.fetch(ctx, job, f); err != nil {
			problems = append(problems, fmt.Errorf("checkpoint %s of job %s: %w", f.name, filepath.Base(job), err))
			continue
		}
		had[f.run] = true
	}
	return problems
}

func (h Shared) fetch(ctx context.Context, job string, f sharedFile) (err error) {
	path := filepath.Join(job, f.run, f.name)
	if here, err := os.Open(path); err == nil {
		t := scu.PutOptions{}.Take(ctx, here)
		_, err = io.Copy(io.Discard, t)
		here.Close()
		if err == nil && t.Sum() == f.SHA256 {
			return nil
		}
	}
	r, _, err := h.Blobs.Get(ctx, f.Key, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return atomicfile.Write(path, 0o600, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// Remove deletes a job's stored checkpoints.
func (h Shared) Remove(ctx context.Context, jobID string) error {
	all, err := h.list(ctx, jobID, "")
	for _, f := range all {
		err = errors.Join(err, h.delete(ctx, f.Key))
	}
	return err
}
