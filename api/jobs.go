package api

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

type jobInput struct {
	ID string `path:"id" doc:"The job's id"`
}

// find returns a job from the log. One that the caller doesn't see is not there.
func (s *Server) find(ctx context.Context, id string) (scu.Job, uint64, error) {
	if !scu.ValidJobID(id) {
		return scu.Job{}, 0, scu.NoJob(id)
	}
	j, seq, err := s.o.Broker.Job(ctx, id)
	if who := callerOf(ctx); who.scope != scu.ScopeAdmin && (scu.CodeOf(err) == scu.CodeNotFound || err == nil && !who.sees(j.Owner)) {
		return scu.Job{}, 0, scu.NoJob(id)
	}
	return j, seq, err
}

// reach refuses an id of no job, and of one that the caller doesn't see. Whose a job is
// never changes.
func (s *Server) reach(ctx context.Context, id string) error {
	if callerOf(ctx).scope == scu.ScopeAdmin && scu.ValidJobID(id) {
		return nil // the log tells
	}
	_, _, err := s.find(ctx, id)
	return err
}

// newest returns the newest step of a job, nil if it has none yet: one that nobody has
// begun isn't asked for.
func (s *Server) newest(ctx context.Context, j scu.Job) (*scu.Metrics, error) {
	if j.Attempt == 0 {
		return nil, nil
	}
	return s.latest(ctx, j.ID)
}

// latest returns the newest step of a job, nil if it has none yet. It needs no database.
func (s *Server) latest(ctx context.Context, id string) (*scu.Metrics, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := s.o.Store.Latest(ctx, id)
	if err != nil && scu.CodeOf(err) != scu.CodeNotFound { // the metrics themselves know as well
		s.log.WarnContext(ctx, "the read model doesn't answer", "job", id, "err", err)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		var e scu.MetricsEntry
		e, err = s.o.Broker.LastMetrics(ctx, id)
		m = e.Metrics
	}
	if scu.CodeOf(err) == scu.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &m, nil
}

// adapterPath is where the adapter of a completed job is.
func adapterPath(j scu.Job) *string {
	if j.Adapter == nil {
		return nil
	}
	p := "/jobs/" + j.ID + "/adapter"
	return &p
}

func statusOf(j scu.Job, m *scu.Metrics) client.JobStatus {
	st := client.JobStatus{
		JobID: j.ID, Status: j.Status, CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, CompletedAt: j.CompletedAt,
		RanSeconds: j.RanSeconds, RunningSince: j.RunningSince, AdapterPath: adapterPath(j), Name: j.Name, Owner: j.Owner, BaseModel: j.BaseModel, Priority: j.Priority, Class: j.Class,
		CurrentPhase: j.Phase, Stopping: j.Stopping && !j.Status.Ended(), Attempt: j.Attempt, Warnings: j.Warnings, Error: j.Error, Metrics: m,
		NotBefore: j.NotBefore, GivenUp: j.GivenUp, Retries: j.Retries,
	}
	if j.Adapter != nil {
		st.EndedEarly = j.Adapter.Metrics.EndedEarly
	}
	p := scu.ProgressOf(j, m)
	st.Step, st.TotalSteps, st.ProgressPercent = p.Step, p.Steps, p.Percent
	if j.Error != nil {
		text := j.Error.Error()
		st.ErrorMessage = &text
	}
	return st
}

func (s *Server) status(ctx context.Context, in *jobInput) (*reply[client.JobStatus], error) {
	j, seq, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	m, err := s.newest(ctx, j)
	if err != nil {
		return nil, err
	}
	return answer(s.describe(ctx, j, seq, m)), nil
}

// describe is statusOf with what the job's state alone doesn't tell: what is before it in
// the queue, whether a trainer takes its class, and whether its own trainer still gives
// signs of life. m may be nil.
func (s *Server) describe(ctx context.Context, j scu.Job, seq uint64, m *scu.Metrics) client.JobStatus {
	j.Warnings = s.damaged.warnings(j)
	st := statusOf(j, m)
	st.SilentSeconds = int(s.silence(ctx, j, m).Seconds())
	if j.Status == scu.Queued {
		more, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		if all, err := s.o.Trainers(more); err == nil {
			if st.NoTrainer = !scu.Served(all, j.Class); st.NoTrainer {
				st.WaitsFor = scu.ServedBy(j.Class)
			}
		}
		var beside sync.WaitGroup
		beside.Go(func() {
			if halts, err := s.o.Broker.Halted(more); err == nil {
				st.QueuePaused = halts.Queue
			}
		})
		a, err := s.o.Store.Ahead(more, j, seq, s.o.Ageing)
		beside.Wait()
		if err != nil {
			s.log.DebugContext(ctx, "the place in the queue isn't known", "job", j.ID, "err", err)
			return st
		}
		st.QueuedBefore = &client.QueuedBefore{HigherPriority: a.HigherPriority, SamePriority: a.SamePriority, OtherOwners: a.OtherOwners, More: a.More}
		st.QueuePosition = a.Jobs() + 1
	}
	return st
}

// silentAfter is when a trainer counts as silent: it announces itself every 5 s.
const silentAfter = 12 * time.Second

// silence returns for how long a running job has had no sign of its trainer: no entry
// in the log, no step, no announcement. It is 0 if that isn't long, or isn't known.
func (s *Server) silence(ctx context.Context, j scu.Job, m *scu.Metrics) time.Duration {
	if j.Status != scu.Running {
		return 0
	}
	last := j.UpdatedAt
	if m != nil && m.Timestamp.After(last) {
		last = m.Timestamp
	}
	if time.Since(last) < silentAfter {
		return 0
	}
	p, err := s.o.Broker.Trainer(ctx, j.Trainer)
	switch {
	case err == nil && p.Job == j.ID && p.Seen.After(last):
		last = p.Seen
	case err != nil && scu.CodeOf(err) != scu.CodeNotFound:
		return 0
	}
	if d := time.Since(last); d >= silentAfter {
		return d
	}
	return 0
}

func (s *Server) job(ctx context.Context, in *jobInput) (*reply[client.JobDetail], error) {
	j, _, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	m, err := s.newest(ctx, j)
	if err != nil {
		return nil, err
	}
	p := scu.ProgressOf(j, m)
	j.Steps, j.Warnings = p.Steps, s.damaged.warnings(j)
	return answer(client.JobDetail{Job: j, AdapterPath: adapterPath(j), Metrics: m, Step: p.Step, ProgressPercent: p.Percent}), nil
}

type listInput struct {
	Status    scu.Status `query:"status" enum:"scheduled,queued,running,paused,completed,failed,cancelled" doc:"Only jobs of this status"`
	GivenUp   bool       `query:"given_up" doc:"Only jobs that were given up after all their attempts"`
	ErrorCode scu.Code   `query:"error_code" doc:"Only jobs that failed with an error of this code"`
	Search    string     `query:"search" maxLength:"200" doc:"Only jobs whose name or base model contains this, in either case, or whose id begins with it"`
	Owner     string     `query:"owner" maxLength:"64" doc:"Only this owner's jobs; a key that isn't an administrator's lists its own owner's alone"`
	Limit     int        `query:"limit" minimum:"1" maximum:"1000" default:"50" doc:"At most so many"`
	After     string     `query:"after" pattern:"^([0-9a-f]{16})?$" patternDescription:"a job's id" doc:"The last job id of the page before"`
}

func (s *Server) list(ctx context.Context, in *listInput) (*reply[client.JobList], error) {
	if err := s.caughtUp(ctx); err != nil {
		return nil, err
	}
	owner := callerOf(ctx).only()
	switch {
	case owner == "":
		owner = in.Owner
	case in.Owner != "" && in.Owner != owner: // there is nothing of another's
		return answer(client.JobList{Jobs: []client.JobSummary{}}), nil
	}
	rows, err := s.o.Store.Jobs(ctx, scu.JobFilter{Owner: owner, Search: in.Search, Status: in.Status, GivenUp: in.GivenUp, ErrorCode: in.ErrorCode, After: in.After, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	l := client.JobList{Jobs: make([]client.JobSummary, len(rows)), Count: len(rows)}
	for i, r := range rows {
		l.Jobs[i] = summaryOf(r.Job, r.Progress)
	}
	return answer(l), nil
}

// summaryOf is a job as it stands in a list.
func summaryOf(j scu.Job, p scu.Progress) client.JobSummary {
	s := client.JobSummary{
		JobID: j.ID, BaseModel: j.BaseModel, Status: j.Status,
		CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, CompletedAt: j.CompletedAt,
		Name: j.Name, Owner: j.Owner, Priority: j.Priority, CurrentPhase: j.Phase, Attempt: j.Attempt,
		ProgressPercent: p.Percent, Step: p.Step, TotalSteps: p.Steps, Warnings: j.Warnings, TargetS: j.Config.Control.TargetS,
		NotBefore: j.NotBefore, Error: j.Error,
	}
	if a := j.Adapter; a != nil {
		s.ValLossBefore, s.ValLossAfter, s.S = a.Metrics.ValLossBefore, a.Metrics.ValLossAfter, &a.Metrics.S
	}
	return s
}

func (s *Server) counts(ctx context.Context, _ *struct{}) (*reply[map[scu.Status]int], error) {
	if err := s.caughtUp(ctx); err != nil {
		return nil, err
	}
	n, err := s.o.Store.Counts(ctx, callerOf(ctx).only())
	if err != nil {
		return nil, err
	}
	return answer(n), nil
}

// The read model is a few milliseconds behind the log. If it is further behind than
// patience, answers are as it stands.
const (
	patience = 2 * time.Second
	glance   = 2 * time.Millisecond
)

// projected waits, at most patience, until the read model has reached end.
func (s *Server) projected(ctx context.Context, end scu.Position) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		at, err := s.o.Store.Position(ctx)
		switch {
		case ctx.Err() == context.DeadlineExceeded:
			return nil
		case err != nil:
			return err
		case at.Reached(end):
			return nil
		}
		_ = scu.Sleep(ctx, glance) // the next round tells that ctx ended
	}
}

// caughtUp waits until the read model has what the log has now.
func (s *Server) caughtUp(ctx context.Context) error {
	end, err := s.o.Broker.End(ctx)
	if err != nil {
		return err
	}
	return s.projected(ctx, scu.Position{State: end.State})
}

// stepsCaughtUp waits until the read model also has all steps that were published before.
func (s *Server) stepsCaughtUp(ctx context.Context) error {
	end, err := s.o.Broker.End(ctx)
	if err != nil {
		return err
	}
	return s.projected(ctx, end)
}

func (s *Server) cancel(ctx context.Context, in *jobInput) (*reply[client.CancelResponse], error) {
	if err := s.reach(ctx, in.ID); err != nil {
		return nil, err
	}
	j, already, err := s.o.Broker.Cancel(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	message := fmt.Sprintf("Job %s cancelled", j.ID)
	if already {
		message = fmt.Sprintf("Job %s was cancelled already", j.ID)
	}
	return answer(client.CancelResponse{Message: message, JobID: j.ID, Status: j.Status}), nil
}

func (s *Server) stop(ctx context.Context, in *jobInput) (*reply[client.CancelResponse], error) {
	if err := s.reach(ctx, in.ID); err != nil {
		return nil, err
	}
	j, already, err := s.o.Broker.Stop(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	message := fmt.Sprintf("Job %s ends after its present step, and keeps what it has learned", j.ID)
	if already {
		message = fmt.Sprintf("Job %s was asked to stop already", j.ID)
	}
	return answer(client.CancelResponse{Message: message, JobID: j.ID, Status: j.Status}), nil
}
