//go:build unix

// Package postgrestest starts a real PostgreSQL server for a test: its own, in a
// temporary folder, reached through a socket there, gone when the test ends. A
// machine without PostgreSQL's programs fails the test.
package postgrestest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Server is a PostgreSQL server.
type Server struct {
	t         testing.TB
	bin       string // folder of the programs
	dir       string // holds data/ and the socket
	as        *syscall.SysProcAttr
	process   *exec.Cmd
	stdin     io.Closer // closing it stops the server
	log       chan struct{}
	databases int
}

// Start makes and starts a server, and stops it when t ends.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, bin: programs(t)}
	var err error
	if s.dir, err = os.MkdirTemp("", "scu-postgres-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(s.dir) })
	s.unprivileged()
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), "--pgdata", s.data(), "--username", "scu",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	initdb.SysProcAttr, initdb.Dir = s.as, s.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	s.Restart()
	t.Cleanup(s.Stop)
	return s
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// programs finds the newest PostgreSQL of the machine.
func programs(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path)
		}
	}
	var found []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres"} {
		paths, _ := filepath.Glob(pattern)
		found = append(found, paths...)
	}
	if len(found) == 0 {
		t.Fatal("this test needs a PostgreSQL server and found none in PATH or /usr/lib/postgresql; " +
			"install it (apt-get install postgresql, dnf install postgresql-server or brew install postgresql)")
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) }))
}

// version reads the number in a path like /usr/lib/postgresql/15/bin/postgres.
func version(path string) int {
	n, _ := strconv.Atoi(regexp.MustCompile(`[0-9]+`).FindString(path))
	return n
}

// unprivileged gives the folder to another user where the test runs as root,
// since PostgreSQL refuses to.
func (s *Server) unprivileged() {
	s.t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			s.t.Fatalf("PostgreSQL doesn't run as root, and there is neither a user postgres nor nobody: %v", err)
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		s.t.Fatal(err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.Chown(s.dir, uid, gid); err != nil {
		s.t.Fatal(err)
	}
	s.as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

// The shell stops the server when its input closes, so that not even a test
// that is killed leaves one behind.
const supervise = `"$@" & exec 2>&-; read line; kill -INT $!; wait $!`

// Restart starts the server after Stop and returns when it takes connections.
func (s *Server) Restart() {
	s.t.Helper()
	s.process = exec.Command("sh", "-c", supervise, "sh", filepath.Join(s.bin, "postgres"), "-D", s.data(),
		"-c", "listen_addresses=", "-c", "unix_socket_directories="+s.dir, "-c", "max_connections=50",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off", "-c", "max_wal_size=4GB")
	s.process.SysProcAttr, s.process.Dir = s.as, s.dir
	stdin, err := s.process.StdinPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	stderr, err := s.process.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.process.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.stdin, s.log = stdin, make(chan struct{})
	lines := bufio.NewScanner(stderr)
	var said strings.Builder
	for lines.Scan() {
		if strings.Contains(lines.Text(), "ready to accept connections") {
			go func() {
				defer close(s.log)
				io.Copy(io.Discard, stderr)
			}()
			return
		}
		said.WriteString(lines.Text() + "\n")
	}
	close(s.log)
	s.Stop()
	s.t.Fatalf("the PostgreSQL server didn't start:\n%s", said.String())
}

// Stop ends every connection and stops the server; its data stay for Restart.
func (s *Server) Stop() {
	if s.process == nil {
		return
	}
	s.stdin.Close()
	<-s.log
	s.process.Wait()
	s.process = nil
}

// NewDatabase makes an empty database and returns its URL.
func (s *Server) NewDatabase(t testing.TB) string {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	s.databases++
	name := fmt.Sprintf("test%d", s.databases)
	if _, err := c.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return s.url(name)
}

func (s *Server) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("scu"), Path: "/" + database,
		RawQuery: url.Values{"host": {s.dir}}.Encode()}
	return u.String()
}
