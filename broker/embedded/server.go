// Package embedded runs a NATS server with JetStream inside this process, so that a
// service on one machine needs no other program. It listens on loopback or not at all;
// passwords derive from a secret in its folder, so every user has one without any being
// configured.
package embedded

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
)

// Rights returns the subjects that a user may publish to and subscribe to: nil is
// every subject, an empty list none. ok reports whether the user exists.
type Rights func(user string) (publish, subscribe []string, ok bool)

// Config sets the server.
type Config struct {
	// Dir holds everything: streams, the secret that passwords come from, a lock.
	Dir string
	// Listen is a loopback address, as "127.0.0.1:4222" (port 0: any), for
	// trainers in other processes. Default "": this process only.
	Listen string
	// SyncInterval is how often what was written is forced to disk: what a power
	// cut may lose. A killed process loses nothing. Default 200 ms.
	SyncInterval time.Duration
	// Rights decide who may log in and what they may do. Default: nobody may.
	Rights Rights
	// Log takes the server's warnings; its notices are debug messages. Default
	// slog.Default().
	Log *slog.Logger
}

// Server is a NATS server with JetStream inside this process.
type Server struct {
	ns     *server.Server
	dir    string
	lock   *flock.Flock
	secret []byte
	rights Rights
}

// Start starts a server on c.Dir and returns when it is ready. A folder
// that another process uses is CodeConflict.
func Start(c Config) (*Server, error) {
	if c.SyncInterval == 0 {
		c.SyncInterval = 200 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	opts := &server.Options{
		ServerName:             "scu",
		JetStream:              true,
		StoreDir:               c.Dir,
		JetStreamMaxStore:      math.MaxInt64, // the default is a share of what was free at the start
		SyncInterval:           c.SyncInterval,
		StreamMaxBufferedSize:  1 << 30, // the default of 128 MiB refuses a large object's chunks
		AuthTimeout:            10,      // seconds; a login on a busy machine can take longer than the default of 2
		DisableJetStreamBanner: true,
		NoSigs:                 true,
		DontListen:             c.Listen == "",
	}
	if c.Listen != "" {
		host, port, err := net.SplitHostPort(c.Listen)
		if err != nil {
			return nil, scu.Errorf(scu.CodeInvalid, "NATS address %q: %w", c.Listen, err)
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return nil, scu.Errorf(scu.CodeForbidden, "the embedded NATS server listens on loopback only, not %q", host).
				WithHint("run a NATS server with TLS for other machines, and set SCU_NATS_URL to it")
		}
		opts.Host = host
		if opts.Port, err = strconv.Atoi(port); err != nil || opts.Port < 0 || opts.Port > 65535 {
			return nil, scu.Errorf(scu.CodeInvalid, "NATS address %q: bad port", c.Listen)
		}
		if opts.Port == 0 {
			opts.Port = server.RANDOM_PORT
		} else if l, err := net.Listen("tcp", c.Listen); err != nil { // the server itself would only wait
			return nil, scu.Errorf(scu.CodeConflict, "NATS address: %w", err).WithHint("stop the program that listens there, or choose another address")
		} else {
			l.Close()
		}
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "NATS folder: %w", err)
	}
	s := &Server{dir: c.Dir, rights: c.Rights, lock: flock.New(filepath.Join(c.Dir, "lock"))}
	if ok, err := s.lock.TryLock(); err != nil {
		return nil, scu.Errorf(scu.CodeInternal, "lock the NATS folder: %w", err)
	} else if !ok {
		return nil, scu.Errorf(scu.CodeConflict, "another process uses %s", c.Dir).
			WithHint("stop it, or give this one a data folder of its own")
	}
	if err := s.start(opts, c); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(opts *server.Options, c Config) (err error) {
	if s.secret, err = loadSecret(filepath.Join(c.Dir, "secret")); err != nil {
		return scu.Errorf(scu.CodeInternal, "NATS secret: %w", err)
	}
	opts.CustomClientAuthentication = s
	if s.ns, err = server.NewServer(opts); err != nil {
		return scu.Errorf(scu.CodeInternal, "NATS server: %w", err)
	}
	s.ns.SetLoggerV2(serverLog{c.Log.With("part", "nats")}, false, false, false)
	s.ns.Start()
	if !s.ns.ReadyForConnections(30 * time.Second) {
		return scu.Errorf(scu.CodeUnavailable, "the NATS server did not come up on %s within 30 s", c.Listen).
			WithHint("is the address in use? the log says more")
	}
	if !s.ns.JetStreamEnabled() {
		return scu.Errorf(scu.CodeInternal, "JetStream did not start in %s", c.Dir).WithHint("the log says why")
	}
	return nil
}

// URL is where the server listens, without user and password; "" if it doesn't.
func (s *Server) URL() string {
	if a := s.ns.Addr(); a != nil {
		return "nats://" + a.String()
	}
	return ""
}

// UserURL is URL with the login of user: what a trainer in another process needs.
func (s *Server) UserURL(user string) string {
	if s.URL() == "" {
		return ""
	}
	u := url.URL{Scheme: "nats", User: url.UserPassword(user, s.Password(user)), Host: s.ns.Addr().String()}
	return u.String()
}

// Password is the password of a user. It is derived from a secret in the server's
// folder, so it survives restarts and a new user needs no change of configuration.
func (s *Server) Password(user string) string {
	m := hmac.New(sha256.New, s.secret)
	m.Write([]byte(user))
	return hex.EncodeToString(m.Sum(nil))
}

// Check implements server.Authentication: it gives a user the rights of its role.
func (s *Server) Check(c server.ClientAuthentication) bool {
	user, password := c.GetOpts().Username, c.GetOpts().Password
	if s.rights == nil || subtle.ConstantTimeCompare([]byte(password), []byte(s.Password(user))) != 1 {
		return false
	}
	publish, subscribe, ok := s.rights(user)
	if ok {
		c.RegisterUser(&server.User{Username: user, Permissions: &server.Permissions{Publish: only(publish), Subscribe: only(subscribe)}})
	}
	return ok
}

// only allows the subjects and no others; nil allows all.
func only(subjects []string) *server.SubjectPermission {
	switch {
	case subjects == nil:
		return nil
	case len(subjects) == 0:
		return &server.SubjectPermission{Deny: []string{">"}}
	}
	return &server.SubjectPermission{Allow: subjects}
}

// InProcessConn connects to the server without a socket; it makes the server a
// nats.InProcessConnProvider.
func (s *Server) InProcessConn() (net.Conn, error) { return s.ns.InProcessConn() }

// Close stops the server with everything on disk, and frees the folder.
func (s *Server) Close() {
	if s.ns != nil {
		s.ns.Shutdown()
		s.ns.WaitForShutdown()
	}
	s.lock.Unlock()
}

// Failure returns why JetStream stores nothing, or not everything, while the server
// runs; nil if it works.
func (s *Server) Failure() error {
	for _, e := range s.ns.Healthz(&server.HealthzOptions{Details: true}).Errors {
		off := e.Type == server.HealthzErrorJetStream
		stopped := e.Type == server.HealthzErrorStream && strings.Contains(e.Error, "write error") // else damaged, or being deleted
		if (off || stopped) && s.ns.Running() {
			return errors.New(e.Error)
		}
	}
	return nil
}

// probeSize is what the disk must take before JetStream is started on it again.
const probeSize = 1 << 20

// Revive starts JetStream again after it has given up. It gives up for good, stream
// by stream, at the first write that fails, as when the disk is full. What it
// confirmed before is on disk; what was in memory is gone.
func (s *Server) Revive() error {
	probe := filepath.Join(s.dir, "probe")
	err := os.WriteFile(probe, make([]byte, probeSize), 0o600)
	os.Remove(probe)
	if err != nil {
		return err
	}
	if err := s.ns.ShutdownJetStream(); err != nil {
		return err
	}
	return s.ns.EnableJetStream(&server.JetStreamConfig{StoreDir: s.dir, MaxStore: math.MaxInt64})
}

// Disconnect makes every client connect again.
func (s *Server) Disconnect() error {
	clients, err := s.ns.Connz(nil)
	if err != nil {
		return err
	}
	for _, c := range clients.Conns {
		s.ns.DisconnectClientByID(c.Cid) // fails for one that left meanwhile
	}
	return nil
}

// loadSecret reads the secret in path, making it at first.
func loadSecret(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		b = make([]byte, 32)
		rand.Read(b)
		return b, atomicfile.WriteBytes(path, 0o600, b)
	}
	if err == nil && len(b) != 32 {
		err = fmt.Errorf("%s holds %d bytes, not 32; remove it to make a new one", path, len(b))
	}
	return b, err
}

// serverLog hands the server's log to slog.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(f string, v ...any) { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l serverLog) Debugf(f string, v ...any)  { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l serverLog) Tracef(f string, v ...any)  { l.log.Debug(fmt.Sprintf(f, v...)) }
func (l serverLog) Warnf(f string, v ...any)   { l.log.Warn(fmt.Sprintf(f, v...)) }
func (l serverLog) Errorf(f string, v ...any)  { l.log.Error(fmt.Sprintf(f, v...)) }
func (l serverLog) Fatalf(f string, v ...any)  { l.log.Error(fmt.Sprintf(f, v...)) }
