package api

import (
	"context"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

type filesInput struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"At most so many"`
	After string `query:"after" pattern:"^([0-9a-f]{64})?$" patternDescription:"a file's id" doc:"The last file id of the page before"`
}

// listFiles lists uploads and the files of submissions, ordered by id.
func (s *Server) listFiles(ctx context.Context, in *filesInput) (*reply[client.FileList], error) {
	page, more, err := s.files(ctx, in.After, in.Limit)
	if err != nil {
		return nil, err
	}
	l := client.FileList{Files: s.damaged.files(page), Count: len(page), HasMore: more, Next: in.After}
	if len(page) == 0 {
		l.Files = []scu.File{}
	} else {
		l.Next = page[len(page)-1].ID
	}
	return answer(l), nil
}

type fileInput struct {
	ID string `path:"id" doc:"The file's id"`
}

// namedUsers is how many jobs that use a file are named.
const namedUsers = 5

// deleteFile removes a file that no job needs any more. Jobs that have ended keep its
// name and sum.
func (s *Server) deleteFile(ctx context.Context, in *fileInput) (*reply[client.DeleteResponse], error) {
	if _, err := s.stat(ctx, in.ID); err != nil {
		return nil, err
	}
	end, err := s.o.Broker.End(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.projected(ctx, scu.Position{State: end.State}); err != nil {
		return nil, err
	}
	at, err := s.o.Store.Position(ctx)
	if err != nil {
		return nil, err
	}
	if !at.Reached(scu.Position{State: end.State}) {
		return nil, scu.Errorf(scu.CodeUnavailable, "it isn't known now which jobs use the file: the read model is behind").WithHint("try again")
	}
	jobs, err := s.o.Store.UsersOf(ctx, callerOf(ctx).only(), in.ID, namedUsers+1)
	if err != nil {
		return nil, err
	}
	if len(jobs) > 0 {
		more := ""
		if len(jobs) > namedUsers {
			jobs, more = jobs[:namedUsers], " and others"
		}
		return nil, scu.Errorf(scu.CodeConflict, "file %s is used by jobs that have not ended: %s%s", in.ID, strings.Join(jobs, ", "), more).
			WithHint("wait for them, or cancel them: POST /jobs/{id}/cancel")
	}
	if err := s.release(ctx, in.ID); err != nil {
		return nil, err
	}
	return answer(client.DeleteResponse{Message: "File " + in.ID + " deleted", ID: in.ID}), nil
}

// deleteJob removes a job that has ended, with its metrics, adapter and checkpoints.
func (s *Server) deleteJob(ctx context.Context, in *jobInput) (*reply[client.DeleteResponse], error) {
	if err := s.reach(ctx, in.ID); err != nil {
		return nil, err
	}
	if err := s.o.Broker.Delete(ctx, in.ID); err != nil {
		return nil, err
	}
	return answer(client.DeleteResponse{Message: "Job " + in.ID + " deleted", ID: in.ID}), nil
}
