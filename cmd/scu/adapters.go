package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shannon-control/scu"
)

// copyAdapters puts the adapter of each completed job into the adapters folder,
// those of before included, until ctx ends. The log says which there are; a copy
// that is there is left alone.
func (p *process) copyAdapters(ctx context.Context) error {
	if err := os.MkdirAll(p.set.AdaptersDir, 0o700); err != nil {
		return scu.Errorf(scu.CodeInvalid, "the adapters folder: %w", err).WithHint("choose another with --adapters-dir")
	}
	if err := sweepPartial(p.set.AdaptersDir); err != nil {
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

// partialCopy begins the names of copies that are being written.
const partialCopy = ".partial-"

// sweepPartial removes what a killed process left half-copied a day ago or earlier.
func sweepPartial(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasPrefix(e.Name(), partialCopy) && time.Since(info.ModTime()) > 24*time.Hour {
			os.Remove(filepath.Join(dir, e.Name()))
		}
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
	zip, _, err := p.broker.GetAdapter(ctx, scu.AdapterKey{Job: j.ID, Attempt: j.Attempt})
	if err != nil {
		return err
	}
	defer zip.Close()
	f, err := os.CreateTemp(p.set.AdaptersDir, partialCopy+"*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // once renamed there is none
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), zip)
	if got := hex.EncodeToString(h.Sum(nil)); err == nil && got != j.Adapter.SHA256 {
		err = fmt.Errorf("the stored bytes have sha256 %s, not %s", got, j.Adapter.SHA256)
	}
	if err == nil { // a power cut must leave no short file under the name
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
