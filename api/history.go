package api

import (
	"context"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// history lists what a job went through, from its submission on, as the log has it.
func (s *Server) history(ctx context.Context, in *jobInput) (*reply[client.History], error) {
	j, end, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	entries, err := s.o.Broker.FollowJob(ctx, j.ID)
	if err != nil {
		return nil, err
	}
	h := client.History{JobID: j.ID, Entries: []client.HistoryEntry{}}
	for seq := uint64(0); seq < end; {
		select {
		case e, ok := <-entries:
			if !ok {
				return nil, ctx.Err()
			}
			seq = e.Seq
			if e.Event.Job.ID != "" { // it can be read
				h.Entries = append(h.Entries, historyEntry(e.Event))
			}
		case <-ctx.Done():
			return nil, scu.Errorf(scu.CodeUnavailable, "the log of job %s could not be read in %v", j.ID, publishTime)
		}
	}
	h.Count = len(h.Entries)
	return answer(h), nil
}

func historyEntry(e scu.Event) client.HistoryEntry {
	j := e.Job
	h := client.HistoryEntry{Type: e.Type, Time: e.Time, Status: j.Status, Phase: j.Phase, Attempt: j.Attempt, Trainer: j.Trainer}
	switch e.Type {
	case scu.EventCheckpoint:
		var newest time.Time
		for _, c := range j.Checkpoints {
			if c.CreatedAt.After(newest) {
				h.Step, newest = c.Step, c.CreatedAt
			}
		}
	case scu.EventFailed:
		h.Error = j.Error
	}
	return h
}
