package api

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// checkpoints lists the adapters that a job kept at validations, whatever became of it.
func (s *Server) checkpoints(ctx context.Context, in *jobInput) (*reply[client.CheckpointList], error) {
	j, _, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	l := client.CheckpointList{JobID: j.ID, Status: j.Status, Checkpoints: j.Checkpoints, Count: len(j.Checkpoints)}
	if l.Checkpoints == nil {
		l.Checkpoints = []scu.Checkpoint{}
	}
	return answer(l), nil
}

type checkpointInput struct {
	ID   string `path:"id" doc:"The job's id"`
	Step string `path:"step" pattern:"^([0-9]{1,9}|last|best)$" patternDescription:"a step, last or best" doc:"After which step; or last, or best: that with the lowest validation loss"`
	PartInput
}

// checkpoint streams the zip of one.
func (s *Server) checkpoint(ctx context.Context, in *checkpointInput) (*huma.StreamResponse, error) {
	j, _, err := s.find(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	c, err := j.Checkpoint(in.Step)
	if err != nil {
		return nil, err
	}
	return s.zip(ctx, c.Key(j.ID), fmt.Sprintf("%s_step%d_adapter.zip", j.ID, c.Step), c.Size, c.SHA256, in.PartInput)
}

// openAdapter finds the adapter that a submission begins from, and stages a copy of its
// zip with the data: what becomes of its job is nothing to the new one.
func (s *Server) openAdapter(ctx context.Context, named string) (*source, error) {
	if scu.ValidFileID(named) {
		return s.open(ctx, named)
	}
	id, step, at := strings.Cut(named, "@")
	if !scu.ValidJobID(id) {
		if strings.Count(id, "/") == 1 && s.o.HubAdapter != nil {
			return s.openHubAdapter(ctx, named)
		}
		return nil, scu.Errorf(scu.CodeInvalid, "%.40q is neither a job, nor JOB@STEP, nor an uploaded file, nor owner/name on the Hub", named).WithHint("upload a zip of the adapter with POST /files, and give its id")
	}
	j, _, err := s.find(ctx, id)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return nil, scu.Errorf(scu.CodeInvalid, "there is no job %s", id).WithHint("%s", scu.AsError(err).Hint)
	}
	if err != nil {
		return nil, err
	}
	key, size, sum := j.AdapterKey(), int64(0), ""
	switch {
	case at:
		c, err := j.Checkpoint(step)
		if err != nil {
			e := scu.AsError(err)
			e.Code = scu.CodeInvalid
			return nil, e
		}
		key, size, sum = c.Key(j.ID), c.Size, c.SHA256
	case j.Adapter == nil:
		return nil, scu.Errorf(scu.CodeInvalid, "job %s has no adapter; it is %s", j.ID, j.Status).WithHint("it may have checkpoints: %s@last", j.ID)
	default:
		size, sum = j.Adapter.Size, j.Adapter.SHA256
	}
	zip, err := s.storedZip(ctx, key, size, sum)
	if err != nil {
		return nil, err
	}
	defer zip.Close()
	return s.stage(ctx, named+".zip", zip)
}

// openHubAdapter stages a zip of an adapter of the Hub.
func (s *Server) openHubAdapter(ctx context.Context, named string) (*source, error) {
	r, w := io.Pipe()
	pinned := make(chan string, 1)
	go func() {
		name, err := s.o.HubAdapter(ctx, named, s.o.MaxFileBytes, w)
		pinned <- name
		w.CloseWithError(err)
	}()
	d, err := s.stage(ctx, "adapter.zip", r)
	r.Close()
	if name := <-pinned; err == nil {
		d.pinned = name
	}
	return d, err
}
