package api

import (
	"context"
	"fmt"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// Pausing, resuming and retrying of jobs.

func (s *Server) pause(ctx context.Context, in *jobInput) (*reply[client.CancelResponse], error) {
	if err := s.reach(ctx, in.ID); err != nil {
		return nil, err
	}
	j, already, err := s.o.Broker.Pause(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	message := fmt.Sprintf("Job %s is paused", j.ID)
	if already {
		message = fmt.Sprintf("Job %s was paused already", j.ID)
	}
	return answer(client.CancelResponse{Message: message, JobID: j.ID, Status: j.Status}), nil
}

func (s *Server) resume(ctx context.Context, in *jobInput) (*reply[client.CancelResponse], error) {
	if err := s.reach(ctx, in.ID); err != nil {
		return nil, err
	}
	j, already, err := s.o.Broker.Resume(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	message := fmt.Sprintf("Job %s is queued", j.ID)
	if already {
		message = fmt.Sprintf("Job %s is %s already", j.ID, j.Status)
	}
	return answer(client.CancelResponse{Message: message, JobID: j.ID, Status: j.Status}), nil
}

type retryInput struct {
	ID        string `path:"id" doc:"The job's id"`
	FromStart bool   `query:"from_start" doc:"Begin anew instead of from the last checkpoint"`
}

func (s *Server) retry(ctx context.Context, in *retryInput) (*reply[client.CancelResponse], error) {
	j, err := s.retryJob(ctx, in.ID, in.FromStart)
	if err != nil {
		return nil, err
	}
	return answer(client.CancelResponse{Message: fmt.Sprintf("Job %s is queued again", j.ID), JobID: j.ID, Status: j.Status}), nil
}

// retryJob queues a job again whose data is still there.
func (s *Server) retryJob(ctx context.Context, id string, fromStart bool) (scu.Job, error) {
	j, _, err := s.find(ctx, id)
	if err != nil {
		return j, err
	}
	if j.Status == scu.Failed || j.Status == scu.Cancelled {
		for _, f := range j.FileIDs() {
			unpin, err := s.pins.pin(f)
			if err != nil {
				return j, err
			}
			defer unpin()
			if _, err := s.stat(ctx, f); scu.CodeOf(err) == scu.CodeNotFound {
				return j, scu.Errorf(scu.CodeConflict, "the data of job %s was deleted: %.64s", id, f).WithHint("submit it anew")
			} else if err != nil {
				return j, err
			}
		}
	}
	room, err := s.admit(ctx, 1)
	if err != nil {
		return j, err
	}
	defer room.leave()
	room.sends(1)
	if j, err = s.o.Broker.Retry(ctx, id, fromStart); err == nil {
		s.tookAll(ctx, room)
	}
	return j, err
}

type retryAllInput struct{ Body client.RetryRequest }

// retryAll retries many jobs: those that are named, or that were given up or failed with a
// code. What is wrong with a job itself fails again, so such jobs have to be named.
func (s *Server) retryAll(ctx context.Context, in *retryAllInput) (*reply[client.RetryResponse], error) {
	req, ids := in.Body, in.Body.JobIDs
	switch {
	case len(ids) > 0 && (req.GivenUp || req.ErrorCode != ""):
		return nil, scu.Errorf(scu.CodeInvalid, "name either jobs or which failed ones").At("job_ids")
	case len(ids) == 0 && !req.GivenUp && req.ErrorCode == "":
		return nil, scu.Errorf(scu.CodeInvalid, "nothing says which jobs").At("job_ids").WithHint("give job_ids, given_up or error_code")
	case req.ErrorCode == scu.CodeInvalid:
		return nil, scu.Errorf(scu.CodeInvalid, "jobs with invalid data fail again").At("error_code").WithHint("give job_ids to retry some all the same")
	case len(ids) == 0:
		if err := s.caughtUp(ctx); err != nil {
			return nil, err
		}
		rows, err := s.o.Store.Jobs(ctx, scu.JobFilter{Owner: callerOf(ctx).only(), Status: scu.Failed, GivenUp: req.GivenUp, ErrorCode: req.ErrorCode, Limit: scu.MaxJobs})
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			ids = append(ids, r.Job.ID)
		}
	}
	out := client.RetryResponse{Retried: []string{}}
	var over error // what refuses those that follow too, as a limit that is reached
	for _, id := range ids {
		err := over
		if err == nil {
			_, err = s.retryJob(ctx, id, req.FromStart)
		}
		switch code := scu.CodeOf(err); {
		case err == nil:
			out.Retried = append(out.Retried, id)
			continue
		case code == scu.CodeConflict, code == scu.CodeNotFound:
		case len(out.Retried) == 0:
			return nil, err
		default: // those that are queued again are told of
			over = err
		}
		out.Refused = append(out.Refused, client.RetryRefusal{JobID: id, Error: scu.AsError(err)})
	}
	return answer(out), nil
}
