package broker

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/shannon-control/scu/broker/logins"
)

// writtenServer is a NATS server that has read the files of scu nats-auth, and knows the
// passwords from the others of these files.
type writtenServer struct {
	*server.Server
	t   testing.TB
	dir string
}

// startWritten starts one with the logins of those trainers.
func startWritten(t testing.TB, trainers ...string) writtenServer {
	t.Helper()
	dir := t.TempDir()
	if err := logins.Write(dir, "127.0.0.1:4222", Logins(trainers)); err != nil {
		t.Fatal(err)
	}
	o, err := server.ProcessConfigFile(filepath.Join(dir, logins.Config))
	if err != nil {
		t.Fatal(err)
	}
	return writtenServer{startPlain(t, o), t, dir}
}

func (s writtenServer) login(user string) *url.URL {
	b, err := os.ReadFile(filepath.Join(s.dir, logins.File(user)))
	if err != nil {
		s.t.Fatal(err)
	}
	u, err := url.Parse(strings.TrimSpace(string(b)))
	if err != nil {
		s.t.Fatal(err)
	}
	u.Host = s.Addr().String()
	return u
}

func (s writtenServer) Password(user string) string {
	password, _ := s.login(user).User.Password()
	return password
}

func (s writtenServer) UserURL(user string) string { return s.login(user).String() }
func (s writtenServer) Failure() error             { return nil }
func (s writtenServer) Revive() error              { return nil }
func (s writtenServer) Disconnect() error          { return nil }
