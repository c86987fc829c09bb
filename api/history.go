package api

import (
	"context"
	"slices"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// history lists what a job went through, from its submission on, as the log has it.
func (s *Server) history(ctx context.Context, in *jobInput) (*reply[client.History], error) {
	j, end, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	entries, err := s.entries(ctx, j.ID, end)
	if err != nil {
		return nil, err
	}
	h := client.History{JobID: j.ID, Entries: make([]client.HistoryEntry, len(entries)), Count: len(entries)}
	for i, e := range entries {
		h.Entries[i] = historyEntry(e.Event)
	}
	return answer(h), nil
}

// entries are those of a job in the log that can be read, up to end.
func (s *Server) entries(ctx context.Context, id string, end uint64) (all []scu.LogEntry, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTime)
	defer cancel()
	all, err = s.o.Broker.JobEntries(ctx, id, end)
	if ctx.Err() != nil {
		return nil, scu.Errorf(scu.CodeUnavailable, "the log of job %s could not be read in %v", id, publishTime).WithHint("try again")
	}
	return slices.DeleteFunc(all, func(e scu.LogEntry) bool { return e.Event.Job.ID == "" }), err // it can't be read
}

func historyEntry(e scu.Event) client.HistoryEntry {
	j := e.Job
	h := client.HistoryEntry{Type: e.Type, Time: e.Time, Status: j.Status, Phase: j.Phase, Attempt: j.Attempt, Trainer: j.Trainer}
	switch e.Type {
	case scu.EventCheckpoint:
		if c, ok := j.NewestCheckpoint(); ok {
			h.Step = c.Step
		}
	case scu.EventFailed:
		h.Error = j.Error
	}
	return h
}
