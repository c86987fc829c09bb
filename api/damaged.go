package api

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/shannon-control/scu"
)

// damagedAge is how old what an API knows of damaged blobs may be.
const damagedAge = 5 * time.Second

// damaged is what is known of damaged blobs: a copy of the table that all APIs share. Nothing
// of it is in the log, which says what was stored and not what became of it.
type damaged struct {
	reports scu.DamageReports
	log     *slog.Logger

	mu       sync.Mutex
	found    map[scu.BlobKey]bool // is damaged
	verified scu.Verification
}

func newDamaged(reports scu.DamageReports, log *slog.Logger) *damaged {
	return &damaged{reports: reports, log: log, found: map[scu.BlobKey]bool{}}
}

// follow keeps the copy up to date until ctx ends.
func (d *damaged) follow(ctx context.Context) {
	for failed := false; ; {
		err := d.look(ctx)
		if err != nil && !failed && ctx.Err() == nil {
			d.log.Warn("what is damaged can't be read now", "err", err)
		}
		failed = err != nil
		if scu.Sleep(ctx, damagedAge) != nil {
			return
		}
	}
}

// look makes the copy anew.
func (d *damaged) look(ctx context.Context) error {
	all, err := d.reports.Damaged(ctx)
	if err != nil {
		return err
	}
	v, _, err := d.reports.Verification(ctx)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.verified, d.found = v, make(map[scu.BlobKey]bool, len(all))
	for _, x := range all {
		d.found[x.Key()] = true
	}
	return nil
}

// note takes in what a reading of a blob found, for all APIs. x says what the blob should be.
func (d *damaged) note(ctx context.Context, x scu.Damage, err error) {
	known := d.has(x.Key())
	switch bad := scu.CodeOf(err) == scu.CodeDamaged; {
	case err == nil && known:
		err = d.mended(ctx, x.Key())
	case bad && !known:
		x.Why, x.FoundAt = scu.AsError(err).Message, time.Now().UTC()
		d.mu.Lock()
		d.found[x.Key()] = true
		d.mu.Unlock()
		err = d.reports.ReportDamage(context.WithoutCancel(ctx), x) // the client may be gone
	default: // nothing new, or nothing of the bytes
		return
	}
	if err != nil {
		d.log.WarnContext(ctx, "what was found of a stored blob can't be told to other APIs", "kind", x.Kind, "name", x.Name, "err", err)
	}
}

// mended takes in that a blob is whole, for all APIs.
func (d *damaged) mended(ctx context.Context, key scu.BlobKey) error {
	d.mu.Lock()
	delete(d.found, key)
	d.mu.Unlock()
	return d.reports.ClearDamage(context.WithoutCancel(ctx), key) // the client may be gone
}

// deleted takes in that a file is gone. It is asked, as another API may have found it damaged just now.
func (d *damaged) deleted(ctx context.Context, file string) {
	key := scu.BlobKey{Kind: scu.FileBlob, Name: file}
	d.mu.Lock()
	delete(d.found, key)
	d.mu.Unlock()
	err := scu.ForgetDamage(context.WithoutCancel(ctx), d.reports, func(x scu.Damage) bool { return x.Key() == key })
	if err != nil {
		d.log.WarnContext(ctx, "that a damaged file is gone can't be told now", "file", file, "err", err)
	}
}

// counts are how many blobs of each kind are damaged, and verified the newest reading of all.
func (d *damaged) counts() (counts map[scu.BlobKind]int, verified scu.Verification) {
	d.mu.Lock()
	defer d.mu.Unlock()
	counts = map[scu.BlobKind]int{}
	for key := range d.found {
		counts[key.Kind]++
	}
	return counts, d.verified
}

// has reports whether a blob is known to be damaged.
func (d *damaged) has(key scu.BlobKey) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found[key]
}

// files marks those that are damaged.
func (d *damaged) files(all []scu.File) []scu.File {
	for i, f := range all {
		all[i].Damaged = d.has(scu.BlobKey{Kind: scu.FileBlob, Name: f.ID})
	}
	return all
}

// warnings are a job's, with what was found.
func (d *damaged) warnings(j scu.Job) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Clone(j.Warnings)
	if len(d.found) == 0 {
		return all
	}
	warn := func(key scu.BlobKey, what, remedy string) {
		text := what + " is damaged or lost in the store: " + remedy
		if d.found[key] && !slices.Contains(all, text) { // a file may be named twice
			all = append(all, text)
		}
	}
	if j.Adapter != nil {
		warn(j.AdapterKey().Blob(), "its adapter", sameAgain)
	}
	for _, c := range j.Checkpoints {
		warn(c.Key(j.ID).Blob(), fmt.Sprintf("its checkpoint of step %d", c.Step), sameAgain)
	}
	for _, id := range j.FileIDs() {
		warn(scu.BlobKey{Kind: scu.FileBlob, Name: id}, "its file "+id, "upload the same file again")
	}
	for key := range d.found {
		if key.Kind == scu.CheckpointBlob && key.Job() == j.ID && !j.Status.Ended() {
			warn(key, "a state that it would go on from", "it goes on from the one before")
		}
	}
	return all
}
