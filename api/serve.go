package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/netutil"
)

// Bounds of the server. There is no time for whole requests or answers, since files
// and events stream: reads and writes have deadlines of their own.
const (
	headerTime   = 10 * time.Second
	idleTime     = 2 * time.Minute
	shutdownTime = 10 * time.Second
	// maxConnections are answered at a time; more wait. Anybody may open them, key or
	// none, and NATS and the trainer need files to be left that they can open.
	maxConnections = 2 * maxStreams
	// maxEach are answered of one address, so that one client's half requests, or event
	// streams that it doesn't read, leave room for others'. Of a proxy that is trusted, it are
	// requests, of each address that it asks for.
	maxEach = maxStreams * 3 / 4
)

// Serve answers on l until ctx is done; then it ends the event streams, lets other
// requests finish for ten seconds, and returns nil. It refuses a listener that
// CheckListen refuses.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if err := CheckListen(l.Addr().String(), s.o.Key); err != nil {
		l.Close()
		return err
	}
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	keys, forget := context.WithCancel(context.WithoutCancel(ctx)) // requests that are in work keep theirs
	var followers sync.WaitGroup
	hooks, stop := context.WithCancel(ctx)
	told := make(chan struct{})
	go func() { defer close(told); s.tellWebhooks(hooks) }()
	defer func() { stop(); <-told }()
	followers.Go(func() { s.followKeys(keys) })
	followers.Go(func() { s.damaged.follow(keys) })
	defer func() { forget(); followers.Wait() }()
	failed := make(chan error, 1)
	go func() {
		failed <- srv.Serve(netutil.LimitListener(&fairListener{Listener: l, most: maxEach, free: s.proxies.has}, maxConnections))
	}()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.closeOnce.Do(func() { close(s.closing) })
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
	defer cancel()
	if err := srv.Shutdown(grace); err != nil {
		s.log.Warn("requests were cut off at shutdown", "err", err)
		srv.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
