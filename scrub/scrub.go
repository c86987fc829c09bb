// Package scrub reads all stored blobs through, slowly and again and again, so that damage is
// noticed before somebody needs the bytes.
//
// It promises:
//
//   - Each adapter and each kept checkpoint is held against the sha256 that its job's record
//     has, each file against its id, each shared checkpoint against the sum it was stored with.
//   - Of several processes one reads at a time; if it dies, another goes on where it was.
//   - Never more bytes a second than allowed.
//   - What can't be read now is neither damaged nor whole, and is read again every hour until it is.
package scrub

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/shannon-control/scu"
)

const (
	// look is how often it is looked whether a verification is due.
	look = time.Minute
	// beat is how often who reads says how far it is; who says nothing for abandoned, as it is seen
	// here, is dead: no two clocks are compared, of which one may be set, or wrong.
	beat, abandoned = 5 * time.Second, time.Minute
	// mostAhead is how far another's clock may be ahead of this one's: what began later than that
	// from now on was dated by a clock that was wrong, and says nothing.
	mostAhead = time.Hour
	// again is after what time those that could not be read are tried again, of which mostLeft at
	// most are known: if there were more, all are read again.
	again, mostLeft = time.Hour, 1000
	// piece is what is read at a time, bytes.
	piece = 256 << 10
)

// Log is what a scrubber needs of the log.
type Log interface {
	scu.DamageReports
	Job(ctx context.Context, id string) (scu.Job, uint64, error)
}

// Scrubber verifies the blobs of one service.
type Scrubber struct {
	Reports Log
	Store   scu.ReadModel
	Blobs   map[scu.BlobKind]scu.Blobs // what is stored where; a kind may have none
	Every   time.Duration              // from one verification to the next; 0: only when asked
	Rate    int64                      // bytes a second
	Log     *slog.Logger
	Now     func() time.Time
	// Elapsed is time that nobody sets, from whenever. Default: since New.
	Elapsed func() time.Duration

	asked    chan struct{}
	revision uint64        // of the verification as it was heard of last
	heard    time.Duration // when that was
}

// New makes a Scrubber. Of its Verify one runs at a time.
func New(s Scrubber) *Scrubber {
	s.asked = make(chan struct{}, 1)
	if begin := time.Now(); s.Elapsed == nil {
		s.Elapsed = func() time.Duration { return time.Since(begin) }
	}
	return &s
}

// Ask has Run verify everything now, unless somebody does already.
func (s *Scrubber) Ask() {
	select {
	case s.asked <- struct{}{}:
	default: // it is asked already
	}
}

// Run verifies when it is due, or asked for, until ctx ends.
func (s *Scrubber) Run(ctx context.Context) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for asked := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-s.asked:
			asked = true
		case <-ticker.C:
		}
		if err := s.Verify(ctx, asked); err == nil {
			asked = false
		} else if ctx.Err() == nil {
			s.Log.Warn("stored blobs can't be verified now; trying again", "error", err)
		}
	}
}

// Verify reads everything if that is due or asked for, or goes on with what a process that is
// dead began. It does nothing while another one reads.
func (s *Scrubber) Verify(ctx context.Context, asked bool) error {
	v, revision, err := s.Reports.Verification(ctx)
	if err != nil {
		return err
	}
	if s.revision != revision {
		s.revision, s.heard = revision, s.Elapsed()
	}
	now := s.Now()
	past := func(at time.Time, d time.Duration) bool { return now.Sub(at) >= d || at.Sub(now) > mostAhead }
	switch {
	case v.Running() && s.Elapsed()-s.heard < abandoned:
		return nil
	case v.Running():
	case asked || s.Every > 0 && past(v.BegunAt, s.Every), v.Unread > len(v.Left) && past(v.SeenAt, again):
		v = scu.Verification{BegunAt: now, Before: v.LastEnd(), Kind: order[0]}
	case v.Unread > 0 && past(v.SeenAt, again):
	default:
		return nil
	}
	p := &pass{Scrubber: s, v: v, revision: revision, limit: rate.NewLimiter(rate.Limit(s.Rate), piece)}
	if err = p.tell(ctx); err == nil {
		err = p.run(ctx)
	}
	if scu.CodeOf(err) == scu.CodeConflict { // another took it over
		return nil
	}
	return err
}

// order is in which order the kinds are read.
var order = []scu.BlobKind{scu.AdapterBlob, scu.FileBlob, scu.CheckpointBlob}

// pass is one reading of everything.
type pass struct {
	*Scrubber
	v        scu.Verification
	revision uint64
	limit    *rate.Limiter
	reported map[scu.BlobKey]bool // damaged as far as was known at its begin
	there    map[string]bool      // files that unfinished jobs read and that are there
}

func (p *pass) run(ctx context.Context) error {
	known, err := p.Reports.Damaged(ctx)
	if err != nil {
		return err
	}
	p.reported, p.there = map[scu.BlobKey]bool{}, map[string]bool{}
	for _, d := range known {
		p.reported[d.Key()] = true
	}
	read := p.all
	if !p.v.Running() {
		read = p.left
	}
	if err := read(ctx); err != nil {
		return err
	}
	if p.v.Unread == 0 {
		// Those that this reading did not report again are of blobs that nobody has any more.
		// One that came meanwhile stays, whatever the clock of who made it says.
		err := scu.ForgetDamage(ctx, p.Reports, func(d scu.Damage) bool { return p.reported[d.Key()] && d.FoundAt.Before(p.v.BegunAt) })
		if err != nil {
			return err
		}
	}
	now := p.now()
	p.v.Kind, p.v.After, p.v.EndedAt = "", "", &now
	if err := p.tell(ctx); err != nil {
		return err
	}
	p.Log.Info("all stored blobs were verified", "blobs", p.v.Blobs, "bytes", p.v.Bytes, "damaged", p.v.Damaged, "unread", p.v.Unread)
	return nil
}

// all reads everything.
func (p *pass) all(ctx context.Context) error {
	for _, kind := range order[max(0, slices.Index(order, p.v.Kind)):] {
		if kind != p.v.Kind {
			p.v.Kind, p.v.After = kind, ""
		}
		read := p.stored
		if kind == scu.AdapterBlob {
			read = p.jobs
		}
		if err := read(ctx, kind); err != nil {
			return err
		}
	}
	return nil
}

// left reads again what could not be read. What it can't read either comes to the end of the list.
func (p *pass) left(ctx context.Context) error {
	for range len(p.v.Left) {
		if err := p.readAgain(ctx, p.v.Left[0]); err != nil {
			return err
		}
		p.v.Left, p.v.Unread = p.v.Left[1:], p.v.Unread-1
		if err := p.tick(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) readAgain(ctx context.Context, key scu.BlobKey) error {
	blobs := p.Blobs[key.Kind]
	switch {
	case blobs == nil:
		return nil
	case key.Kind == scu.AdapterBlob:
		j, _, err := p.Reports.Job(ctx, key.Job())
		if err != nil && scu.CodeOf(err) != scu.CodeNotFound {
			return err
		}
		for _, zip := range j.Zips() {
			if zip.Key() == key {
				return p.checkZip(ctx, zip)
			}
		}
		return nil // its job has it no longer
	}
	b, err := blobs.Stat(ctx, key)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return nil
	}
	if err != nil {
		p.unread(key, err)
		return nil
	}
	return p.check(ctx, blobs, damageOf(b), nil)
}

// now is never before the begin, whatever the clock does.
func (p *pass) now() time.Time {
	if now := p.Now(); now.After(p.v.BegunAt) {
		return now
	}
	return p.v.BegunAt
}

// tell says how far it is; CodeConflict if another took it over.
func (p *pass) tell(ctx context.Context) (err error) {
	p.v.SeenAt = p.Now()
	p.revision, err = p.Reports.UpdateVerification(ctx, p.v, p.revision)
	return err
}

// tick says so if it is time to.
func (p *pass) tick(ctx context.Context) error {
	if p.Now().Sub(p.v.SeenAt).Abs() < beat {
		return nil
	}
	return p.tell(ctx)
}

// jobs reads what jobs have: their zips, and that the files that unfinished ones read are there.
func (p *pass) jobs(ctx context.Context, kind scu.BlobKind) error {
	for more := true; more; {
		page, err := p.Store.Jobs(ctx, scu.JobFilter{After: p.v.After, Limit: scu.MaxJobs})
		if err != nil {
			return err
		}
		more = len(page) == scu.MaxJobs
		for _, r := range page {
			for _, zip := range r.Job.Zips() {
				if err := p.checkZip(ctx, zip); err != nil {
					return err
				}
			}
			if err := p.files(ctx, r.Job); err != nil {
				return err
			}
			p.v.After = r.Job.ID
			if err := p.tick(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// files reports the files that an unfinished job reads and that are lost.
func (p *pass) files(ctx context.Context, j scu.Job) error {
	if j.Status.Ended() {
		return nil
	}
	for _, id := range j.FileIDs() {
		if p.there[id] {
			continue
		}
		d := scu.Damage{Kind: scu.FileBlob, Name: id, SHA256: id, Job: j.ID}
		_, err := p.Blobs[scu.FileBlob].Stat(ctx, d.Key())
		if scu.CodeOf(err) != scu.CodeNotFound {
			p.there[id] = true // what else is wrong with it is seen when it is read
			continue
		}
		if err := p.found(ctx, d, err, func(j scu.Job) bool { return j.Reads(id) }); err != nil {
			return err
		}
	}
	return nil
}

// stored reads what is stored of a kind.
func (p *pass) stored(ctx context.Context, kind scu.BlobKind) error {
	blobs := p.Blobs[kind]
	if blobs == nil {
		return nil
	}
	for more := true; more; {
		page, again, err := blobs.List(ctx, kind, "", p.v.After, 1000)
		if err != nil {
			return err
		}
		more = again
		for _, b := range page {
			if err := p.check(ctx, blobs, damageOf(b), nil); err != nil {
				return err
			}
			p.v.After = b.Key.Name
			if err := p.tick(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// damageOf is what is said of a listed blob if it turns out to be damaged.
func damageOf(b scu.Blob) scu.Damage {
	d := scu.Damage{Kind: b.Key.Kind, Name: b.Key.Name, Size: b.Size, SHA256: b.SHA256}
	if d.Kind == scu.FileBlob {
		d.Title, d.SHA256 = b.Title, b.Key.Name
	} else {
		d.Job = b.Key.Job()
	}
	return d
}

// checkZip reads what is stored of a job's adapter, or of a checkpoint that it keeps.
func (p *pass) checkZip(ctx context.Context, zip scu.Damage) error {
	return p.check(ctx, p.Blobs[zip.Kind], zip, func(j scu.Job) bool { return slices.Contains(j.Zips(), zip) })
}

// check reads a blob. has reports whether a job has it, as its newest record is; nil if the
// blob is there because it was listed, and needed by nobody once it is gone.
func (p *pass) check(ctx context.Context, blobs scu.Blobs, want scu.Damage, has func(scu.Job) bool) error {
	err := p.read(ctx, blobs, want)
	switch code := scu.CodeOf(err); {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errTaken):
		return err
	case err == nil && p.reported[want.Key()]:
		p.v.Blobs++
		return p.Reports.ClearDamage(ctx, want.Key())
	case err == nil:
		p.v.Blobs++
		return nil
	case code == scu.CodeNotFound && has == nil:
		return nil
	case code == scu.CodeNotFound, code == scu.CodeDamaged:
		p.v.Blobs++
		return p.found(ctx, want, err, has)
	}
	p.unread(want.Key(), err)
	return nil
}

// unread takes in that a blob can't be read now.
func (p *pass) unread(key scu.BlobKey, err error) {
	p.v.Unread++
	if len(p.v.Left) < mostLeft {
		p.v.Left = append(p.v.Left, key)
	}
	p.Log.Warn("a stored blob can't be read now", "kind", key.Kind, "name", key.Name, "error", err)
}

// needed reports whether a blob is somebody's, as a job's newest record has it, or as it is there.
func (p *pass) needed(ctx context.Context, d scu.Damage, has func(scu.Job) bool) (bool, error) {
	if has == nil {
		_, err := p.Blobs[d.Kind].Stat(ctx, d.Key())
		return scu.CodeOf(err) != scu.CodeNotFound, nil // what else is wrong is what is reported
	}
	j, _, err := p.Reports.Job(ctx, d.Job)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return false, nil
	}
	return err == nil && has(j), err
}

// found reports a blob that is damaged or lost, if it is needed, and takes that back if it was
// deleted meanwhile.
func (p *pass) found(ctx context.Context, d scu.Damage, why error, has func(scu.Job) bool) error {
	if needed, err := p.needed(ctx, d, has); err != nil || !needed {
		return err
	}
	p.v.Damaged++
	d.Why, d.FoundAt = scu.AsError(why).Message, p.now().UTC()
	if scu.CodeOf(why) == scu.CodeNotFound {
		d.Why = "it is lost: the store has no such blob"
	}
	p.Log.Error("a stored blob is damaged or lost", "kind", d.Kind, "name", d.Name, "job", d.Job, "why", d.Why)
	if err := p.Reports.ReportDamage(ctx, d); err != nil {
		return err
	}
	needed, err := p.needed(ctx, d, has)
	if err == nil && !needed {
		p.v.Damaged--
		err = p.Reports.ClearDamage(ctx, d.Key())
	}
	return err
}

// errTaken marks that another process took the verification over in the middle of a blob.
var errTaken = errors.New("another process verifies the stored blobs")

// read reads a blob at the allowed rate.
func (p *pass) read(ctx context.Context, blobs scu.Blobs, want scu.Damage) error {
	r, b, err := blobs.Get(ctx, want.Key(), 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	if b.SHA256 != want.SHA256 || b.Size != want.Size {
		return want.Key().Damaged("it has %d bytes with sha256 %s, not %d with %s", b.Size, b.SHA256, want.Size, want.SHA256)
	}
	for buffer := make([]byte, piece); ; {
		n, err := r.Read(buffer)
		p.v.Bytes += int64(n)
		if wait := p.limit.WaitN(ctx, n); wait != nil {
			return wait
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.tick(ctx); err != nil {
			return errors.Join(errTaken, err)
		}
	}
}
