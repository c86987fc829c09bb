package main

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
)

// copyAdapters puts the adapter of each completed job into the adapters folder,
// those of before included, until ctx ends. The log says which there are; a copy
// that is there is left alone.
func (p *process) copyAdapters(ctx context.Context) error {
	if err := os.MkdirAll(p.set.AdaptersDir, 0o700); err != nil {
		return scu.Errorf(scu.CodeInvalid, "the adapters folder: %w", err).WithHint("choose another with --adapters-dir")
	}
	if err := atomicfile.Sweep(p.set.AdaptersDir, time.Now().Add(-24*time.Hour)); err != nil {
		return scu.Errorf(scu.CodeInvalid, "the adapters folder: %w", err)
	}
	end, err := p.broker.End(ctx)
	if err != nil {
		return err
	}
	err = p.broker.Follow(ctx, scu.Position{Metrics: end.Metrics}, func(b scu.Batch) error {
		for _, e := range b.State {
			if e.Event.Type != scu.EventCompleted || e.Event.Job.Adapter == nil {
				continue
			}
			err := p.copyAdapter(ctx, e.Event.Job)
			if _, _, gone := p.broker.Job(ctx, e.Event.Job.ID); err != nil && scu.CodeOf(gone) == scu.CodeNotFound {
				continue // deleted since
			}
			if err != nil {
				p.log.Error("the adapter was not copied; it can still be downloaded", "job", e.Event.Job.ID, "error", err)
			}
		}
		return nil
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// copyAdapter writes one copy, whole and with the bytes that the job's entry in the
// log says, or not at all.
func (p *process) copyAdapter(ctx context.Context, j scu.Job) error {
	path := filepath.Join(p.set.AdaptersDir, j.ID+"_adapter.zip")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	zip, _, err := p.broker.GetAdapter(ctx, j.AdapterKey())
	if err != nil {
		return err
	}
	defer zip.Close()
	return atomicfile.Write(path, 0o600, func(w io.Writer) error {
		_, err := io.Copy(w, scu.PutOptions{SHA256: j.Adapter.SHA256}.Take(ctx, zip))
		return err
	})
}
