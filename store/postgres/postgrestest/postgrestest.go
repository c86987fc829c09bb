//go:build unix

// Package postgrestest starts a real PostgreSQL server for a test: its own, in a
// temporary folder, reached through a socket there, gone when the test ends. A
// machine without PostgreSQL's programs fails the test. Run does the same for a
// program.
package postgrestest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
	Place
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
	s, err := Run(Place{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Remove)
	return s
}

// Place is where a server's data are and how it is reached.
type Place struct {
	Dir     string   // an existing folder to make its own in; "" is a temporary one
	Address string   // 127.0.0.1:port; "" is a socket alone
	Env     []string // more variables of its processes
}

// Run makes and starts a server, which Remove stops and deletes.
func Run(at Place) (s *Server, err error) {
	s = &Server{Place: at}
	if s.bin, err = programs(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(at.Dir, "scu-postgres-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	s.dir = dir
	if err := s.unprivileged(); err != nil {
		return nil, err
	}
	initdb := exec.Command(filepath.Join(s.bin, "initdb"), "--pgdata", s.data(), "--username", "scu",
		"--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions")
	initdb.SysProcAttr, initdb.Dir = s.as, s.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return s, s.start()
}

// Remove stops the server and deletes its data.
func (s *Server) Remove() {
	s.Stop()
	os.RemoveAll(s.dir)
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// programs finds the newest PostgreSQL of the machine.
func programs() (string, error) {
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	var found []string
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/postgres", "/usr/pgsql-*/bin/postgres"} {
		paths, _ := filepath.Glob(pattern)
		found = append(found, paths...)
	}
	if len(found) == 0 {
		return "", errors.New("found no PostgreSQL server in PATH or /usr/lib/postgresql; " +
			"install it (apt-get install postgresql, dnf install postgresql-server or brew install postgresql)")
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// version reads the number in a path like /usr/lib/postgresql/15/bin/postgres.
func version(path string) int {
	n, _ := strconv.Atoi(regexp.MustCompile(`[0-9]+`).FindString(path))
	return n
}

// unprivileged gives the folder to another user if this program runs as root, since
// PostgreSQL refuses to.
func (s *Server) unprivileged() error {
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		if u, err = user.Lookup("nobody"); err != nil {
			return fmt.Errorf("PostgreSQL doesn't run as root, and there is neither a user postgres nor nobody: %w", err)
		}
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		return err
	}
	s.as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return os.Chown(s.dir, uid, gid)
}

// The shell stops the server when its input closes, so that not even a test
// that is killed leaves one behind.
const supervise = `"$@" & exec 2>&-; read line; kill -INT $!; wait $!`

// Restart starts the server after Stop and returns when it takes connections.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) start() error {
	host, port, wal := "", "5432", "4GB"
	if s.Address != "" {
		var err error
		if host, port, err = net.SplitHostPort(s.Address); err != nil {
			return err
		}
	}
	if s.Dir != "" {
		wal = "32MB" // the folder may be small
	}
	s.process = exec.Command("sh", "-c", supervise, "sh", filepath.Join(s.bin, "postgres"), "-D", s.data(),
		"-c", "listen_addresses="+host, "-c", "port="+port, "-c", "unix_socket_directories="+s.dir, "-c", "max_connections=50",
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off", "-c", "min_wal_size=32MB", "-c", "max_wal_size="+wal)
	s.process.SysProcAttr, s.process.Dir, s.process.Env = s.as, s.dir, append(os.Environ(), s.Env...)
	stdin, err := s.process.StdinPipe()
	if err != nil {
		return err
	}
	stderr, err := s.process.StderrPipe()
	if err != nil {
		return err
	}
	if err := s.process.Start(); err != nil {
		return err
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
			return nil
		}
		said.WriteString(lines.Text() + "\n")
	}
	close(s.log)
	s.Stop()
	return fmt.Errorf("the PostgreSQL server didn't start:\n%s", said.String())
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

// Kill ends every process of the server at once; its data stay for Restart.
func (s *Server) Kill() {
	for _, pid := range s.processes() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	s.Stop()
}

// Pause stops every process of the server where it is, until Continue.
func (s *Server) Pause() {
	for _, pid := range s.processes() {
		syscall.Kill(pid, syscall.SIGSTOP)
	}
}

// Continue ends Pause.
func (s *Server) Continue() {
	for _, pid := range s.processes() {
		syscall.Kill(pid, syscall.SIGCONT)
	}
}

// Running reports whether the server's first process lives; it ends by itself if it can't
// write.
func (s *Server) Running() bool { return len(s.processes()) > 0 }

// processes are the server's, the first one first, as Linux tells them.
func (s *Server) processes() (pids []int) {
	b, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || syscall.Kill(pid, 0) != nil {
		return nil
	}
	pids = []int{pid}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(children)) {
		if pid, err := strconv.Atoi(child); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// NewDatabase makes an empty database and returns its URL.
func (s *Server) NewDatabase(t testing.TB) string {
	t.Helper()
	url, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// Create makes an empty database and returns its URL.
func (s *Server) Create() (string, error) {
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return "", err
	}
	defer c.Close(ctx)
	s.databases++
	name := fmt.Sprintf("test%d", s.databases)
	_, err = c.Exec(ctx, "CREATE DATABASE "+name)
	return s.url(name), err
}

func (s *Server) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.User("scu"), Path: "/" + database, Host: s.Address}
	if s.Address == "" {
		u.RawQuery = url.Values{"host": {s.dir}}.Encode()
	}
	return u.String()
}
