package api

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/shannon-control/scu"
)

// source is data that a submission named, readable under File.ID. It is kept
// already, or waits for Keep; Drop ends it either way.
type source struct {
	File   scu.File
	pinned string         // its address with the revision, for data of the Hub
	staged scu.StagedFile // nil for an upload, which stays
	unpin  func()
}

func (d *source) Keep(ctx context.Context) error {
	if d.staged == nil {
		return nil
	}
	return d.staged.Keep(ctx)
}

func (d *source) Drop() {
	if d.staged != nil {
		d.staged.Drop()
	}
	d.unpin()
}

// resolve finds what a submission's field named: an upload's id, a URL, a file of a
// Hub data set, or a path below the data folders.
func (s *Server) resolve(ctx context.Context, field, named string) (*source, error) {
	d, err := s.open(ctx, named)
	if err != nil {
		return nil, within(field, err)
	}
	return d, nil
}

func (s *Server) open(ctx context.Context, named string) (*source, error) {
	if scu.ValidFileID(named) {
		unpin, busy := s.pins.pin(named)
		f, err := s.stat(ctx, named)
		if err == nil {
			err = busy
		}
		if err != nil && unpin != nil {
			unpin()
		}
		if scu.CodeOf(err) == scu.CodeNotFound {
			return nil, scu.Errorf(scu.CodeInvalid, "no file %s was uploaded", named).WithHint("upload it with POST /files")
		}
		if err != nil {
			return nil, err
		}
		return &source{File: f, unpin: unpin}, nil
	}
	if scheme, _, ok := strings.Cut(named, "://"); ok {
		if scheme = strings.ToLower(scheme); scheme == "hf" && s.o.HubData != nil {
			return s.openHub(ctx, named)
		}
		if scheme != "http" && scheme != "https" {
			return nil, scu.Errorf(scu.CodeInvalid, "%.20q addresses can't be read", scheme).WithHint("use http or https, hf://datasets/owner/name/path, or upload the file with POST /files")
		}
		body, name, err := s.fetch(ctx, named)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		return s.stage(ctx, name, body)
	}
	f, err := s.data.openFile(named)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return s.stage(ctx, filepath.Base(named), f)
}

// openHub opens a file of a Hub data set.
func (s *Server) openHub(ctx context.Context, named string) (*source, error) {
	local, pinned, err := s.o.HubData(ctx, named, s.o.MaxFileBytes)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(local)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	d, err := s.stage(ctx, path.Base(named), f)
	if err == nil {
		d.pinned = pinned
	}
	return d, err
}

// name is how a job names where its data came from.
func (d *source) name(named string) string { return cmp.Or(d.pinned, named) }

func (s *Server) stage(ctx context.Context, name string, r io.Reader) (*source, error) {
	r, err := notEmpty(r)
	if err != nil {
		return nil, err
	}
	st, err := s.stageFile(ctx, name, r)
	if err != nil {
		return nil, err
	}
	unpin, err := s.pins.pin(st.File().ID) // the same bytes may be kept already, and be deleted
	if err != nil {
		st.Drop()
		return nil, err
	}
	return &source{File: st.File(), staged: st, unpin: unpin}, nil
}

// notEmpty refuses data without a byte before it takes any room.
func notEmpty(r io.Reader) (io.Reader, error) {
	b := bufio.NewReaderSize(r, 64<<10)
	if _, err := b.Peek(1); errors.Is(err, io.EOF) {
		return nil, scu.Errorf(scu.CodeInvalid, "the file is empty").WithHint("give plain text or JSONL")
	} else if err != nil {
		return nil, err
	}
	return b, nil
}

// nameOf is what a URL's file is called.
func nameOf(urlPath string) string {
	if name := path.Base(urlPath); name != "/" && name != "." {
		return name
	}
	return "download"
}
