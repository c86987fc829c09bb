package embedded

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/shannon-control/scu"
)

var silent = slog.New(slog.DiscardHandler)

func start(t *testing.T, dir, listen string) *Server {
	t.Helper()
	s, err := Start(Config{Dir: dir, Listen: listen, Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestFolderInUse(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir, "")
	_, err := Start(Config{Dir: dir, Log: silent})
	if scu.CodeOf(err) != scu.CodeConflict {
		t.Error(err)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, code := range map[string]scu.Code{
		"0.0.0.0:4222":    scu.CodeForbidden,
		"10.0.0.1:4222":   scu.CodeForbidden,
		":4222":           scu.CodeForbidden,
		"127.0.0.1":       scu.CodeInvalid,
		"127.0.0.1:x":     scu.CodeInvalid,
		"127.0.0.1:99999": scu.CodeInvalid,
	} {
		_, err := Start(Config{Dir: t.TempDir(), Listen: address, Log: silent})
		if scu.CodeOf(err) != code {
			t.Errorf("%s: %v", address, err)
		}
	}
	taken := start(t, t.TempDir(), "127.0.0.1:0")
	_, err := Start(Config{Dir: t.TempDir(), Listen: strings.TrimPrefix(taken.URL(), "nats://"), Log: silent})
	if scu.CodeOf(err) != scu.CodeConflict {
		t.Error(err)
	}
	if s := start(t, t.TempDir(), ""); s.URL() != "" || s.UserURL("operator") != "" {
		t.Error("a server that does not listen has a URL")
	}
}

func TestSecretIsPrivateAndChecked(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	start(t, dir, "").Close()
	path := filepath.Join(dir, "secret")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Config{Dir: dir, Log: silent}); err == nil {
		t.Fatal("an empty secret is taken")
	}
}

// Without rights nobody gets in, whatever the password.
func TestNobodyByDefault(t *testing.T) {
	t.Parallel()
	s := start(t, t.TempDir(), "127.0.0.1:0")
	_, err := nats.Connect(s.UserURL("operator"))
	if err == nil {
		t.Fatal("a user without rights is let in")
	}
}
