// Package retention removes what a policy no longer keeps: jobs, files and checkpoints, by
// age and by size.
//
// It promises:
//
//   - Nothing goes that a job needs which has not ended, or a comparison that isn't done.
//   - Several collectors, and submissions beside them, do each other no harm: a file is
//     marked first, for all to see; after a pause in which what read it before the mark is in
//     the log, it is looked at again, and of its deletion and a submission that takes the
//     mark away one wins.
//   - What is killed in the middle leaves a file whole, or gone; marks expire.
//   - A clock that is set, before a collection or in the middle, lets nothing go: ages are
//     believed again at the next one. One that is an hour from the log's never is.
package retention

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shannon-control/scu"
)

// Log is what a collector needs of the log.
type Log interface {
	scu.DeletionMarks
	scu.DamageReports
	End(ctx context.Context) (scu.Position, error)
	Time(ctx context.Context) (time.Time, error) // by the clock of who keeps the log
	Delete(ctx context.Context, id string) error
	Comparisons(ctx context.Context) ([]scu.Comparison, error)
	HoldersOf(ctx context.Context, id string) ([]string, error)
	ReleaseFile(ctx context.Context, owner, id string) error
}

// Grace is how long a file is marked before it is deleted: longer than a submission takes
// from its look at the mark to its entry in the log.
const Grace = 20 * time.Second

// atOnce is how many files are marked together: they are deleted well before marks expire.
const atOnce = 500

// Collector collects for one service. Its collections take turns: each is told, by the clock's
// steps since the one before, whether ages can be believed. So who collects by themselves, as a
// process each hour, and those who are asked to need one each: what one was told of a step the other
// wasn't.
type Collector struct {
	Policy scu.Retention
	Log    Log
	Store  scu.ReadModel
	Files  scu.FileStore
	Blobs  scu.Blobs // that keep adapters
	Shared scu.Blobs // that keep checkpoints; nil if none do
	Now    func() time.Time
	Wait   func(ctx context.Context, d time.Duration) error // for what is before the mark

	clock scu.ClockStep
	turn  sync.Mutex // of a collection
}

// mostApart is how far this clock may be from the log's: ages are of days.
const mostApart = time.Hour

// steady refuses to go on if the clock was set since it was asked last, or is another than the log's.
func (c *Collector) steady(ctx context.Context) error {
	if step := c.clock.Stepped(c.Now()); step != 0 {
		return scu.Errorf(scu.CodeUnavailable, "the clock was set by %s, or the machine slept: it isn't known how old anything is, and nothing goes", step.Round(time.Second)).
			WithHint("if the clock is right now, collect again")
	}
	logs, err := c.Log.Time(ctx)
	if err != nil {
		return err
	}
	if apart := c.Now().Sub(logs); apart.Abs() > mostApart {
		return scu.Errorf(scu.CodeUnavailable, "the clock is %s ahead of NATS's: it isn't known how old anything is, and nothing goes", apart.Round(time.Second)).
			WithHint("set the clock that is wrong; a negative figure is behind")
	}
	return nil
}

// world is what there is.
type world struct {
	jobs  map[string]scu.Job // all that are known
	reads map[string]bool    // files that what isn't done reads
}

// Plan lists what the policy lets go now, the oldest of each kind first.
func (c *Collector) Plan(ctx context.Context) ([]scu.Collected, error) {
	w, err := c.look(ctx)
	if err != nil {
		return nil, err
	}
	var out []scu.Collected
	for _, kind := range []struct {
		kind scu.RetainedKind
		list func(context.Context, *world) ([]scu.Collected, int64, error)
	}{{scu.RetainJobs, c.jobs}, {scu.RetainCheckpoints, c.checkpoints}, {scu.RetainFiles, c.files}} {
		keep, set := c.Policy[kind.kind]
		if !set {
			continue
		}
		all, total, err := kind.list(ctx, w)
		if err != nil {
			return nil, err
		}
		out = append(out, c.choose(keep, all, total)...)
	}
	return out, nil
}

// choose picks, of what may go, what has to. total is the size of the whole kind.
func (c *Collector) choose(keep scu.Keep, all []scu.Collected, total int64) (out []scu.Collected) {
	slices.SortFunc(all, func(a, b scu.Collected) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.ID, b.ID))
	})
	for _, x := range all {
		age := c.Now().Sub(x.Since)
		switch {
		case keep.Age > 0 && age > keep.Age:
			x.Why = fmt.Sprintf("older than %s", days(keep.Age))
		case keep.Bytes > 0 && total > keep.Bytes && x.Bytes > 0:
			x.Why = fmt.Sprintf("the oldest, of %d bytes where %d are kept", total, keep.Bytes)
		default:
			continue
		}
		total -= x.Bytes
		out = append(out, x)
	}
	return out
}

func days(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return d.String()
}

// look reads the jobs, once the read model has what the log has now.
func (c *Collector) look(ctx context.Context) (*world, error) {
	end, err := c.Log.End(ctx)
	if err != nil {
		return nil, err
	}
	at, err := c.Store.Position(ctx)
	if err != nil {
		return nil, err
	}
	if !at.Reached(scu.Position{State: end.State}) {
		return nil, scu.Errorf(scu.CodeUnavailable, "it isn't known now what is needed: the read model is behind").WithHint("try again")
	}
	w := &world{jobs: map[string]scu.Job{}, reads: map[string]bool{}}
	for after := ""; ; {
		page, err := c.Store.Jobs(ctx, scu.JobFilter{After: after, Limit: scu.MaxJobs})
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			j := r.Job
			after = j.ID
			if !j.Status.Ended() {
				for _, id := range j.FileIDs() {
					w.reads[id] = true
				}
			}
			w.jobs[j.ID] = scu.Job{ID: j.ID, Name: j.Name, Status: j.Status, Comparison: j.Comparison, CreatedAt: j.CreatedAt, CompletedAt: j.CompletedAt}
		}
		if len(page) < scu.MaxJobs {
			break
		}
	}
	comparisons, err := c.Log.Comparisons(ctx)
	if err != nil {
		return nil, err
	}
	for _, x := range comparisons {
		done := true
		for _, run := range x.Runs {
			j, known := w.jobs[run.JobID]
			done = done && (known && j.Status.Ended() || !known && x.Cancelled)
		}
		if !done {
			for _, id := range x.Template.FileIDs() {
				w.reads[id] = true
			}
			for _, run := range x.Runs { // its table needs those that are done
				delete(w.jobs, run.JobID)
			}
		}
	}
	return w, nil
}

func (c *Collector) jobs(ctx context.Context, w *world) (all []scu.Collected, total int64, err error) {
	zips := map[string]int64{} // bytes of a job's adapters and kept checkpoints
	err = scu.EachBlob(ctx, c.Blobs, scu.AdapterBlob, "", func(b scu.Blob) error {
		zips[b.Key.Job()] += b.Size
		total += b.Size
		return nil
	})
	for _, j := range w.jobs {
		if j.Status.Ended() && j.CompletedAt != nil {
			all = append(all, scu.Collected{Kind: scu.RetainJobs, ID: j.ID, Name: j.Name, Bytes: zips[j.ID], Since: *j.CompletedAt})
		}
	}
	return all, total, err
}

func (c *Collector) checkpoints(ctx context.Context, w *world) (all []scu.Collected, total int64, err error) {
	if c.Shared == nil {
		return nil, 0, nil
	}
	err = scu.EachBlob(ctx, c.Shared, scu.CheckpointBlob, "", func(b scu.Blob) error {
		total += b.Size
		if j, known := w.jobs[b.Key.Job()]; known && j.Status.Ended() {
			all = append(all, scu.Collected{Kind: scu.RetainCheckpoints, ID: b.Key.Name, Bytes: b.Size, Since: b.StoredAt})
		}
		return nil
	})
	return all, total, err
}

func (c *Collector) files(ctx context.Context, w *world) (all []scu.Collected, total int64, err error) {
	for after, more := "", true; more; {
		var page []scu.File
		if page, more, err = c.Files.List(ctx, after, 1000); err != nil {
			return nil, 0, err
		}
		for _, f := range page {
			after = f.ID
			total += f.Size
			if !w.reads[f.ID] {
				all = append(all, scu.Collected{Kind: scu.RetainFiles, ID: f.ID, Name: f.Name, Bytes: f.Size, Since: f.CreatedAt})
			}
		}
	}
	return all, total, nil
}

// Collect removes what the policy lets go, and returns that; what could not be removed has
// the reason.
func (c *Collector) Collect(ctx context.Context) ([]scu.Collected, error) {
	if !c.turn.TryLock() {
		return nil, scu.Errorf(scu.CodeConflict, "a collection is under way").WithHint("it takes half a minute or more; try again then")
	}
	defer c.turn.Unlock()
	if err := c.steady(ctx); err != nil {
		return nil, err
	}
	plan, err := c.Plan(ctx)
	if err == nil {
		err = c.steady(ctx) // while it was planned
	}
	if err != nil {
		return nil, err
	}
	var files []*scu.Collected
	for i := range plan {
		x := &plan[i]
		var err error
		switch x.Kind {
		case scu.RetainJobs:
			err = c.Log.Delete(ctx, x.ID)
		case scu.RetainCheckpoints:
			err = c.collectCheckpoint(ctx, x.ID)
		case scu.RetainFiles:
			files = append(files, x)
		}
		note(x, err)
	}
	for part := range slices.Chunk(files, atOnce) {
		if err := c.collectFiles(ctx, part); err != nil {
			return plan, err
		}
	}
	return plan, ctx.Err()
}

// note keeps why something is still there; what another collector removed is gone.
func note(x *scu.Collected, err error) {
	if err != nil && scu.CodeOf(err) != scu.CodeNotFound {
		x.Error = scu.AsError(err).Message
	}
}

// collectCheckpoint removes a shared checkpoint, unless its job was retried since the plan.
func (c *Collector) collectCheckpoint(ctx context.Context, name string) error {
	key := scu.BlobKey{Kind: scu.CheckpointBlob, Name: name}
	j, _, err := c.Store.Job(ctx, key.Job())
	switch {
	case err == nil && !j.Status.Ended():
		return scu.Errorf(scu.CodeConflict, "its job goes on")
	case err != nil && scu.CodeOf(err) != scu.CodeNotFound:
		return err
	}
	if err := c.Shared.Delete(ctx, key); err != nil {
		return err
	}
	return scu.ForgetDamage(ctx, c.Log, func(d scu.Damage) bool { return d.Key() == key })
}

func (c *Collector) collectFiles(ctx context.Context, files []*scu.Collected) error {
	marks := make([]uint64, len(files))
	for i, x := range files {
		var err error
		if marks[i], err = c.Log.MarkForDeletion(ctx, x.ID); err != nil {
			return err
		}
	}
	if err := c.Wait(ctx, Grace); err != nil {
		return err
	}
	w, err := c.look(ctx)
	if err == nil {
		err = c.steady(ctx)
	}
	if err != nil {
		return err
	}
	gone := map[string]bool{}
	for i, x := range files {
		if w.reads[x.ID] {
			x.Error = "a job reads it now"
			continue
		}
		note(x, c.collectFile(ctx, x, marks[i]))
		gone[x.ID] = x.Error == ""
	}
	return scu.ForgetDamage(ctx, c.Log, func(d scu.Damage) bool { return d.Kind == scu.FileBlob && gone[d.Name] })
}

func (c *Collector) collectFile(ctx context.Context, x *scu.Collected, mark uint64) error {
	if err := c.Log.BeginDeletion(ctx, x.ID, mark); err != nil {
		return err
	}
	f, err := c.Files.Stat(ctx, x.ID)
	if err != nil {
		return err
	}
	if f.CreatedAt.After(x.Since) {
		if err := c.Log.ForgetDeletion(ctx, x.ID); err != nil {
			return err
		}
		return scu.Errorf(scu.CodeConflict, "it was uploaded again")
	}
	owners, err := c.Log.HoldersOf(ctx, x.ID)
	if err != nil {
		return err
	}
	for _, owner := range owners {
		if err := c.Log.ReleaseFile(ctx, owner, x.ID); err != nil {
			return err
		}
	}
	if err := c.Files.Delete(ctx, x.ID); err != nil && scu.CodeOf(err) != scu.CodeNotFound {
		return err
	}
	return c.Log.EndDeletion(ctx, x.ID)
}
