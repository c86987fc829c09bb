package api

import (
	"context"
	"slices"
	"sync"

	"github.com/shannon-control/scu"
)

// quotas bound what an owner has: jobs that wait, and files and their bytes. What this API has
// taken in counts at once; what others took in counts when the read model has it, so that
// several together may let in as much more as comes to them in that moment.
type quotas struct {
	mu     sync.Mutex
	owners map[string]*intake
}

// intake is what of an owner is being taken in here.
type intake struct {
	mu     sync.Mutex
	begun  int           // jobs of requests that are being answered
	sent   int           // those of them that the read model may have already: they count twice, maybe
	noted  chan struct{} // closed once one of them counts once; nil: nobody waits for that
	recent []uint64      // entries of jobs that the read model may not have

	spare  scu.Limits // files and bytes that may come before the owner's files are counted again
	under  scu.Limits // by which limits spare was
	looked int        // counts the files that were looked for: each time the next in turn are
}

func (q *quotas) of(owner string) *intake {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.owners == nil {
		q.owners = map[string]*intake{}
	}
	if q.owners[owner] == nil {
		q.owners[owner] = &intake{}
	}
	return q.owners[owner]
}

// limits are an owner's.
func (s *Server) limits(owner string) scu.Limits {
	if owner == "" {
		return scu.Limits{}
	}
	return s.keys.limits(owner).Or(s.o.Limits)
}

// admission is the room for jobs that a request brings.
type admission struct {
	in   *intake // nil: there is no bound
	n    int     // that were not noted yet
	sent int     // of those, that are being submitted
}

// admit makes room for n more jobs of the caller's owner, or refuses them: at once, unless there
// is room but for jobs that count twice, for which it waits.
func (s *Server) admit(ctx context.Context, n int) (*admission, error) {
	owner := callerOf(ctx).owner
	most := s.limits(owner).Queued
	if most == 0 {
		return &admission{}, nil
	}
	in := s.quotas.of(owner)
	for {
		waiting, sent, noted, err := s.begin(ctx, in, owner, n, most)
		switch {
		case err != nil:
			return nil, err
		case waiting+n <= most:
			return &admission{in: in, n: n}, nil
		case waiting-sent+n > most:
			return nil, scu.Errorf(scu.CodeTooMany, "too many jobs of %s wait: %d, and %d more would pass the limit of %d", owner, waiting, n, most).
				WithHint("wait until some have begun, or cancel some; the administrator sets the limit")
		}
		select {
		case <-noted:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin begins n more jobs of an owner if there is room beside those that wait. If there isn't,
// noted is closed once one of those that are sent, and counted twice, maybe, counts once.
func (s *Server) begin(ctx context.Context, in *intake, owner string, n, most int) (waiting, sent int, noted <-chan struct{}, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	waiting, at, err := s.o.Store.WaitingOf(ctx, owner)
	if err != nil {
		return 0, 0, nil, err
	}
	in.recent = slices.DeleteFunc(in.recent, func(seq uint64) bool { return seq <= at })
	if waiting += len(in.recent) + in.begun; waiting+n <= most {
		in.begun += n
		return waiting, 0, nil, nil
	}
	if in.noted == nil {
		in.noted = make(chan struct{})
	}
	return waiting, in.sent, in.noted, nil
}

// sends notes that n of the jobs are being submitted: from now on the read model may have them.
func (a *admission) sends(n int) {
	if a.in == nil {
		return
	}
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	a.sent += n
	a.in.sent += n
}

// settle notes that n jobs are no longer begun, sent of which were being submitted. a.in.mu is held.
func (a *admission) settle(n, sent int) {
	a.n, a.in.begun = a.n-n, a.in.begun-n
	a.sent, a.in.sent = a.sent-sent, a.in.sent-sent
	if a.in.noted != nil {
		close(a.in.noted)
		a.in.noted = nil
	}
}

// took notes a job that was submitted by an entry of the log.
func (a *admission) took(seq uint64) {
	if a.in == nil || a.n == 0 {
		return
	}
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	a.settle(1, min(1, a.sent))
	a.in.recent = append(a.in.recent, seq)
}

// tookAll notes that all jobs were submitted, by entries that are in the log now.
func (s *Server) tookAll(ctx context.Context, a *admission) {
	if a.in == nil {
		return
	}
	end, err := s.o.Broker.End(ctx)
	if err != nil {
		s.log.WarnContext(ctx, "jobs count towards their owner's limit a moment late", "err", err)
		return
	}
	for a.n > 0 {
		a.took(end.State)
	}
}

// leave gives back the room that wasn't needed.
func (a *admission) leave() {
	if a.in == nil {
		return
	}
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	a.settle(a.n, a.sent)
}

// spareShare is which part of an owner's room for files an API gives away before it counts them
// again: so many APIs together let in no more than there is room for.
const spareShare = 8

// mostLooked bounds how many files of an owner who has too many are looked for at an upload: what
// was lost makes room.
const mostLooked = 200

// hold notes that an owner has one more file, if there is room for it.
func (s *Server) hold(ctx context.Context, owner string, f scu.File) error {
	most := s.limits(owner)
	if most.Files == 0 && most.Bytes == 0 {
		return s.o.Broker.HoldFile(ctx, owner, f)
	}
	in := s.quotas.of(owner)
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.spend(most, f) {
		if err := s.countFiles(ctx, in, owner, most, f); err != nil {
			return err
		}
	}
	return s.o.Broker.HoldFile(ctx, owner, f)
}

// spend takes a file's room of what is spare; false if that isn't enough. in.mu is held.
func (in *intake) spend(most scu.Limits, f scu.File) bool {
	if in.under != most || most.Files > 0 && in.spare.Files < 1 || most.Bytes > 0 && in.spare.Bytes < f.Size {
		return false
	}
	in.spare.Files--
	in.spare.Bytes -= f.Size
	return true
}

// countFiles counts an owner's files, and refuses one more that there is no room for. in.mu is
// held.
func (s *Server) countFiles(ctx context.Context, in *intake, owner string, most scu.Limits, f scu.File) error {
	all, err := s.o.Broker.HeldFiles(ctx, owner)
	if err != nil {
		return err
	}
	files, bytes := len(all), int64(0)
	for _, x := range all {
		bytes += x.Size
		if x.ID == f.ID {
			files, bytes = files-1, bytes-x.Size
		}
	}
	over := func() error { return overFull(owner, most, files, bytes, f) }
	for range min(len(all), mostLooked) { // something of it may be gone
		if over() == nil {
			break
		}
		x := all[in.looked%len(all)]
		in.looked++
		if x.ID == f.ID {
			continue
		}
		here, err := s.stillHere(ctx, owner, x.ID)
		if err != nil {
			return err
		}
		if !here {
			files, bytes = files-1, bytes-x.Size
		}
	}
	in.under = most
	in.spare = scu.Limits{Files: (most.Files - files - 1) / spareShare, Bytes: (most.Bytes - bytes - f.Size) / spareShare}
	return over()
}

// overFull is the error of a file that an owner, who has so many others, has no room for.
func overFull(owner string, most scu.Limits, files int, bytes int64, f scu.File) error {
	const hint = "delete files that no job needs: DELETE /files/{id}; the administrator sets the limit"
	switch {
	case most.Files > 0 && files+1 > most.Files:
		return scu.Errorf(scu.CodeTooMany, "%s has %s, and may have %d", owner, scu.Counted(files, "file"), most.Files).WithHint(hint)
	case most.Bytes > 0 && bytes+f.Size > most.Bytes:
		return scu.Errorf(scu.CodeTooLarge, "the files of %s have %d bytes, and with the %d of this one would have more than the %d allowed", owner, bytes, f.Size, most.Bytes).WithHint(hint)
	}
	return nil
}
