package base

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/hub"
)

// What ends a text is one token or several, in either file; what is no token says
// nothing.
func TestEndTokens(t *testing.T) {
	for text, want := range map[string][]int32{
		`{"eos_token_id": 7}`:          {7},
		`{"eos_token_id": [7, 9]}`:     {7, 9},
		`{"eos_token_id": null}`:       nil,
		`{}`:                           nil,
		`{"eos_token_id": "</s>"}`:     nil,
		`{"eos_token_id": 3000000000}`: nil,
		`[`:                            nil,
	} {
		path := filepath.Join(t.TempDir(), "generation_config.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := endTokens(path); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// The end-of-text token comes from config.json first, and generation_config.json
// may name more tokens that end a text.
func TestOpenKnowsEnds(t *testing.T) {
	m, err := Open("../../models/bookworm-2m")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if !slices.Contains(m.Ends, m.EOS) || len(m.BOS) > 1 {
		t.Errorf("EOS %d, ends %v, BOS %v", m.EOS, m.Ends, m.BOS)
	}
}

// What may pass is tried again; what is the server's own trouble is not the
// user's.
func TestHubErrorCodes(t *testing.T) {
	for want, errs := range map[scu.Code][]error{
		scu.CodeInvalid:     {hub.ErrRepoNotFound, hub.ErrBadName, &hub.StatusError{Status: 404}},
		scu.CodeForbidden:   {hub.ErrGated, &hub.StatusError{Status: 403, Kind: hub.ErrForbidden}},
		scu.CodeUnavailable: {hub.ErrUnreachable, hub.ErrOffline, &hub.StatusError{Status: 503}, &hub.StatusError{Status: 429}},
		scu.CodeUnsupported: {hub.ErrNoWeights},
		scu.CodeStorage:     {&fs.PathError{Op: "write", Path: "blob", Err: syscall.ENOSPC}},
		scu.CodeInternal:    {&fs.PathError{Op: "mkdir", Path: "blobs", Err: syscall.EACCES}},
	} {
		for _, err := range errs {
			if got := scu.CodeOf(new(Finder).hubError("owner/name", fmt.Errorf("hub: %w", err))); got != want {
				t.Errorf("%v: %s, want %s", err, got, want)
			}
		}
	}
	if err := new(Finder).hubError("owner/name", context.Canceled); err != context.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}
