package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/telemetry"
)

type batchInput struct {
	IdempotencyKey string `header:"Idempotency-Key" maxLength:"255" doc:"As for a single submission: within a day the same batch under the same key is submitted once"`
	Body           client.BatchRequest
}

// submitBatch takes many jobs in, all or none. Jobs that differ in name, priority or time
// alone are checked once.
func (s *Server) submitBatch(ctx context.Context, in *batchInput) (*reply[client.BatchResponse], error) {
	key, _, err := s.keyed(ctx, in.IdempotencyKey, in.Body)
	if err != nil {
		return nil, err
	}
	first := scu.NewJobID()
	if key.key != "" {
		if first, err = key.bind(ctx, first); err != nil {
			return nil, err
		}
		if known, err := s.knownBatch(ctx, first, len(in.Body.Jobs)); known != nil || err != nil {
			return known, err
		}
	}
	room, err := s.admit(ctx, len(in.Body.Jobs))
	if err != nil {
		return nil, err
	}
	defer room.leave()
	checked := map[string]*prepared{}
	defer func() {
		for _, p := range checked {
			p.drop()
		}
	}()
	ahead, err := s.ahead(ctx, in.Body.Jobs...)
	if err != nil {
		return nil, err
	}
	events := make([]scu.Event, len(in.Body.Jobs))
	var wrong []error
	for i := range in.Body.Jobs {
		job, err := s.ofBatch(ctx, &in.Body.Jobs[i], checked)
		if err != nil {
			if wrong = append(wrong, inBatch(i, err)); scu.CodeOf(err) == scu.CodeInternal || ctx.Err() != nil {
				return nil, err
			}
			continue
		}
		job.ID, job.Trace = batchJobID(first, i), telemetry.Parent(ctx)
		events[i] = scu.Submission(job, time.Now().Add(-ahead))
		if err := s.o.Broker.CheckSize(events[i]); err != nil {
			wrong = append(wrong, inBatch(i, err))
		}
	}
	if err := scu.Join(wrong...); err != nil {
		return nil, err
	}
	for _, p := range checked {
		if err := p.keep(ctx); err != nil {
			return nil, err
		}
	}
	publish, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTime)
	defer cancel()
	room.sends(len(events))
	if err := s.o.Broker.SubmitAll(publish, events); err != nil {
		// The same batch may have been faster, or the answer to it been lost.
		if known, e := s.knownBatch(publish, first, len(events)); known != nil && e == nil {
			return known, nil
		}
		return nil, err
	}
	s.tookAll(publish, room)
	out := client.BatchResponse{Count: len(events)}
	for _, e := range events {
		out.Jobs = append(out.Jobs, *submitted(e.Job))
	}
	return answer(out), nil
}

// ofBatch checks one job of a batch.
func (s *Server) ofBatch(ctx context.Context, req *client.SubmitRequest, checked map[string]*prepared) (scu.Job, error) {
	alike := *req
	alike.Name, alike.Priority, alike.NotBefore = "", 0, nil
	same, err := json.Marshal(alike)
	if err != nil {
		return scu.Job{}, err
	}
	p := checked[string(same)]
	if p == nil {
		p = &prepared{}
		checked[string(same)] = p
		if err := s.prepare(ctx, req, p); err != nil {
			return scu.Job{}, err
		}
	} else if _, err := configOf(req); err != nil { // its name may be wrong
		return scu.Job{}, err
	}
	if len(p.found.Errors) > 0 {
		return scu.Job{}, p.found.Errors
	}
	return p.job(req), nil
}

// inBatch are the errors of a job with its place in the batch.
func inBatch(i int, err error) error {
	all := scu.AllErrors(err)
	for k, e := range all {
		field := fmt.Sprintf("jobs[%d]", i)
		if e.Field != "" {
			field += "." + e.Field
		}
		all[k] = e.At(field)
	}
	return all
}

// knownBatch is the answer to a batch that is in the log; nil if it isn't.
func (s *Server) knownBatch(ctx context.Context, first string, n int) (*reply[client.BatchResponse], error) {
	out := client.BatchResponse{Count: n}
	for i := range n {
		e, err := s.o.Broker.First(ctx, batchJobID(first, i))
		if scu.CodeOf(err) == scu.CodeNotFound && i == 0 {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		out.Jobs = append(out.Jobs, *submitted(e.Job))
	}
	return answer(out), nil
}

// batchJobID is the id of a batch's job: it follows from the first one's, which a key is
// bound to.
func batchJobID(first string, i int) string {
	if i == 0 {
		return first
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", first, i))
	return hex.EncodeToString(sum[:8])
}
