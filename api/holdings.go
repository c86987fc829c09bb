package api

import (
	"context"
	"io"

	"github.com/shannon-control/scu"
)

// The same bytes are stored once, but each owner has files of its own: by the id of another
// owner's file, which is its sha256, nobody learns that it is here. Without owners among the
// keys nothing of this is kept, and all files are the administrator's.

// stat finds a file that the caller has.
func (s *Server) stat(ctx context.Context, id string) (scu.File, error) {
	who := callerOf(ctx)
	if !scu.ValidFileID(id) {
		return scu.File{}, noFile(id)
	}
	if who.scope == scu.ScopeAdmin {
		return s.o.Files.Stat(ctx, id)
	}
	f, err := s.o.Broker.HeldFile(ctx, who.owner, id)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return f, noFile(id)
	}
	if err != nil {
		return f, err
	}
	here, err := s.stillHere(ctx, who.owner, id)
	if err == nil && !here {
		err = noFile(id)
	}
	return f, err
}

// stillHere reports whether the bytes of an owner's file are there. If they aren't, since they
// were lost or collected, the owner has it no longer.
func (s *Server) stillHere(ctx context.Context, owner, id string) (bool, error) {
	_, err := s.o.Files.Stat(ctx, id)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return false, s.o.Broker.ReleaseFile(ctx, owner, id)
	}
	return err == nil, err
}

func noFile(id string) error {
	return scu.Errorf(scu.CodeNotFound, "no file %.80q", id).WithHint("a file id is the 64 hex digits that an upload answers with")
}

// files is a page of the files that the caller has, in the order of their ids.
func (s *Server) files(ctx context.Context, after string, limit int) (page []scu.File, more bool, err error) {
	who := callerOf(ctx)
	if who.scope == scu.ScopeAdmin {
		return s.o.Files.List(ctx, after, limit)
	}
	all, err := s.o.Broker.HeldFiles(ctx, who.owner)
	if err != nil {
		return nil, false, err
	}
	for _, f := range all {
		if f.ID <= after {
			continue
		}
		if len(page) == limit {
			return page, true, nil
		}
		here, err := s.stillHere(ctx, who.owner, f.ID)
		if err != nil {
			return nil, false, err
		}
		if here {
			page = append(page, f)
		}
	}
	return page, false, nil
}

// stageFile takes in what r gives; whoever asks has it once it is kept.
func (s *Server) stageFile(ctx context.Context, name string, r io.Reader) (scu.StagedFile, error) {
	f, err := s.o.Files.Stage(ctx, name, r, s.o.MaxFileBytes)
	if err != nil {
		return nil, err
	}
	return stagedFile{f, s}, nil
}

// stagedFile is a file that becomes the caller's when it is kept.
type stagedFile struct {
	scu.StagedFile
	s *Server
}

// Keep keeps the file, which is noted as the owner's first: who deletes the same bytes
// meanwhile sees that somebody has them.
func (f stagedFile) Keep(ctx context.Context) error {
	if err := f.keep(ctx); err != nil {
		return err
	}
	broker, id := f.s.o.Broker, f.File().ID
	f.s.damaged.note(ctx, scu.Damage{Kind: scu.FileBlob, Name: id}, nil)
	// The same bytes may have been here, and about to be collected.
	err := broker.Unmark(ctx, id)
	if scu.CodeOf(err) != scu.CodeConflict {
		return err
	}
	if err := f.keep(ctx); err != nil {
		return err
	}
	return broker.ForgetDeletion(ctx, id)
}

func (f stagedFile) keep(ctx context.Context) error {
	who := callerOf(ctx)
	if who.owner == "" && !f.s.keys.owned() {
		return f.StagedFile.Keep(ctx)
	}
	if err := f.s.adopt(ctx); err != nil {
		return err
	}
	file := f.File()
	old, err := f.s.o.Broker.HeldFile(ctx, who.owner, file.ID)
	known := err == nil
	if err != nil && scu.CodeOf(err) != scu.CodeNotFound {
		return err
	}
	if known {
		file.CreatedAt = old.CreatedAt
	}
	if !known || old.Name != file.Name {
		if err := f.s.hold(ctx, who.owner, file); err != nil {
			return err
		}
	}
	if err = f.StagedFile.Keep(ctx); err == nil {
		return f.s.holdAgain(ctx, who.owner, file)
	}
	if !known {
		if e := f.s.o.Broker.ReleaseFile(context.WithoutCancel(ctx), who.owner, file.ID); e != nil {
			f.s.log.WarnContext(ctx, "a file that isn't kept stays in an owner's list", "file", file.ID, "owner", who.owner, "err", e)
		}
	}
	return err
}

// holdAgain notes a file that is kept as the owner's if somebody who saw that its bytes
// weren't there yet took it away.
func (s *Server) holdAgain(ctx context.Context, owner string, f scu.File) error {
	_, err := s.o.Broker.HeldFile(ctx, owner, f.ID)
	if scu.CodeOf(err) == scu.CodeNotFound {
		err = s.o.Broker.HoldFile(ctx, owner, f)
	}
	return err
}

// adopt gives the administrator the files that were here before there were owners. It goes
// on, once, though those who wait for it leave.
func (s *Server) adopt(ctx context.Context) error {
	if s.adopted.Load() {
		return nil
	}
	done := s.adoption.DoChan("", func() (any, error) {
		err := s.o.Broker.AdoptFiles(context.WithoutCancel(ctx), func(ctx context.Context, after string) ([]scu.File, bool, error) {
			return s.o.Files.List(ctx, after, adoptPage)
		})
		if err == nil {
			s.adopted.Store(true)
		}
		return nil, err
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// adoptPage is how many files are looked at together.
const adoptPage = 1000

// release takes a file from the caller, and deletes its bytes if nobody else needs them. An
// administrator takes it from everybody.
func (s *Server) release(ctx context.Context, id string) error {
	who := callerOf(ctx)
	if who.scope == scu.ScopeAdmin {
		return s.releaseAll(ctx, id)
	}
	done, free := s.pins.take(id)
	if free {
		defer done()
	}
	if err := s.o.Broker.ReleaseFile(ctx, who.owner, id); err != nil || !free {
		return err
	}
	if others, err := s.o.Broker.HoldersOf(ctx, id); err != nil || len(others) > 0 {
		return err
	}
	if users, err := s.o.Store.UsersOf(ctx, "", id, 1); err != nil || len(users) > 0 {
		return err
	}
	err := s.dropFile(ctx, id)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return nil // lost before, and the list no longer says that it is there
	}
	return err
}

// dropFile deletes a file's bytes, and what is known of their damage.
func (s *Server) dropFile(ctx context.Context, id string) error {
	err := s.o.Files.Delete(ctx, id)
	if err == nil || scu.CodeOf(err) == scu.CodeNotFound {
		s.damaged.deleted(ctx, id)
	}
	return err
}

// releaseAll takes a file from everybody who has it, and deletes its bytes.
func (s *Server) releaseAll(ctx context.Context, id string) error {
	owners, err := s.o.Broker.HoldersOf(ctx, id)
	if err != nil {
		return err
	}
	done, free := s.pins.take(id)
	if !free {
		return scu.Errorf(scu.CodeConflict, "file %s is used by a request that is being answered", id).WithHint("try again")
	}
	defer done()
	for _, owner := range owners {
		if err := s.o.Broker.ReleaseFile(ctx, owner, id); err != nil {
			return err
		}
	}
	return s.dropFile(ctx, id)
}
