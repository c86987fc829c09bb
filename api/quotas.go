package api

import (
	"context"
	"slices"
	"sync"

	"github.com/shannon-control/scu"
)

// quotas bound what an owner has: jobs that wait, and bytes of files. What this API has
// taken in counts at once; what others took in counts when the read model has it, so that
// several together may let in as much more as comes to them in that moment.
type quotas struct {
	mu     sync.Mutex
	owners map[string]*intake
}

// intake is what of an owner is being taken in here.
type intake struct {
	mu     sync.Mutex
	begun  int      // jobs of requests that are being answered
	recent []uint64 // entries of jobs that the read model may not have
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
	in *intake // nil: there is no bound
	n  int     // that were not submitted yet
}

// admit makes room for n more jobs of the caller's owner, or refuses them.
func (s *Server) admit(ctx context.Context, n int) (*admission, error) {
	owner := callerOf(ctx).owner
	most := s.limits(owner).Queued
	if most == 0 {
		return &admission{}, nil
	}
	in := s.quotas.of(owner)
	in.mu.Lock()
	defer in.mu.Unlock()
	waiting, at, err := s.o.Store.WaitingOf(ctx, owner)
	if err != nil {
		return nil, err
	}
	in.recent = slices.DeleteFunc(in.recent, func(seq uint64) bool { return seq <= at })
	if waiting += len(in.recent) + in.begun; waiting+n > most {
		return nil, scu.Errorf(scu.CodeTooMany, "too many jobs of %s wait: %d, and %d more would pass the limit of %d", owner, waiting, n, most).
			WithHint("wait until some have begun, or cancel some; the administrator sets the limit")
	}
	in.begun += n
	return &admission{in, n}, nil
}

// took notes a job that was submitted by an entry of the log.
func (a *admission) took(seq uint64) {
	if a.in == nil || a.n == 0 {
		return
	}
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	a.n--
	a.in.begun--
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
	a.in.begun -= a.n
	a.n = 0
}

// hold notes that an owner has one more file, if there is room for it.
func (s *Server) hold(ctx context.Context, owner string, f scu.File) error {
	most := s.limits(owner).Bytes
	if most == 0 {
		return s.o.Broker.HoldFile(ctx, owner, f)
	}
	in := s.quotas.of(owner)
	in.mu.Lock()
	defer in.mu.Unlock()
	all, err := s.o.Broker.HeldFiles(ctx, owner)
	if err != nil {
		return err
	}
	held := bytesBeside(all, f)
	for i := 0; i < len(all) && held+f.Size > most; i++ { // unless something of it is gone
		here, err := s.stillHere(ctx, owner, all[i].ID)
		if err != nil {
			return err
		}
		if !here {
			held -= bytesBeside(all[i:i+1], f)
		}
	}
	if held+f.Size > most {
		return scu.Errorf(scu.CodeTooLarge, "the files of %s have %d bytes, and with the %d of this one would have more than the %d allowed", owner, held, f.Size, most).
			WithHint("delete files that no job needs: DELETE /files/{id}; the administrator sets the limit")
	}
	return s.o.Broker.HoldFile(ctx, owner, f)
}

// bytesBeside is how many bytes files have besides one.
func bytesBeside(all []scu.File, one scu.File) (n int64) {
	for _, f := range all {
		if f.ID != one.ID {
			n += f.Size
		}
	}
	return n
}
