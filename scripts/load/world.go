//go:build unix

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/postgres"
	"github.com/shannon-control/scu/store/postgres/postgrestest"
	"github.com/shannon-control/scu/trainer"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/estimate"
)

// world is the service without trainers: NATS, PostgreSQL, the API and the projector, each with its own
// connection to NATS as roles apart have.
type world struct {
	dir      string
	nats     *embedded.Server
	broker   *broker.Broker // the API's and the arbiter's connection
	reads    *broker.Broker // the projector's
	steps    *broker.Broker // the trainers', for steps
	store    store.Store
	sql      *sql.DB // the same database
	postgres *postgrestest.Server
	files    *files.Store
	url      string // of the API
	parts    parts  // of what it answers
	closers  []func()

	projector     *store.Projector
	stopProjector func()
	submits       *submitter // once there is one
}

func (w *world) onClose(f func()) { w.closers = append(w.closers, f) }

func (w *world) close() {
	for _, f := range slices.Backward(w.closers) {
		f()
	}
}

func newWorld(ctx context.Context) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	quiet := slog.New(slog.DiscardHandler)
	if w.dir, err = os.MkdirTemp("", "scu-load-"); err != nil {
		return nil, err
	}
	w.onClose(func() { os.RemoveAll(w.dir) })
	if w.nats, err = embedded.Start(embedded.Config{Rights: broker.Rights, Dir: filepath.Join(w.dir, "nats"), Log: quiet}); err != nil {
		return nil, err
	}
	w.onClose(w.nats.Close)
	if w.broker, err = w.connect(ctx, broker.OperatorUser); err != nil {
		return nil, err
	}
	if err := w.broker.Setup(ctx); err != nil {
		return nil, err
	}
	if w.reads, err = w.connect(ctx, broker.OperatorUser); err != nil {
		return nil, err
	}
	if w.steps, err = w.connect(ctx, broker.OperatorUser); err != nil {
		return nil, err
	}
	if err := w.openStore(ctx); err != nil {
		return nil, err
	}
	w.startProjector(ctx)
	w.onClose(func() { w.stopProjector() })

	if w.files, err = files.Open(filepath.Join(w.dir, "files")); err != nil {
		return nil, err
	}
	if w.url, err = w.serve(ctx, api.HeapFloor); err != nil {
		return nil, err
	}
	arbiter, err := broker.NewArbiter(w.broker, w.files)
	if err != nil {
		return nil, err
	}
	w.onClose(background(ctx, "arbiter", func(ctx context.Context) error { arbiter.Serve(ctx); return ctx.Err() }))
	return w, nil
}

// serve starts one more API, and returns its address.
func (w *world) serve(ctx context.Context, heapFloor int64) (address string, err error) {
	trainers := scu.Recently(time.Second/2, w.broker.Trainers)
	preflight := &trainer.Preflight{
		Bases: &base.Finder{Dir: filepath.Join(w.dir, "models")}, Files: w.files, CacheDir: filepath.Join(w.dir, "cache"),
		Trainers: func(ctx context.Context) []scu.Presence {
			all, _ := trainers(ctx)
			return all
		},
		Calibration: &estimate.Calibration{Device: devices.CPU(1)},
	}
	server, err := api.New(api.Options{
		Broker: watchedBroker{w.broker, &w.parts}, Store: watchedStore{w.store, &w.parts}, Files: w.files, Preflight: preflight.Validate, Trainers: trainers, Ageing: scu.DefaultAgeing,
		MaxFileBytes: 1 << 30, HeapFloor: heapFloor, Version: "load", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	w.onClose(background(ctx, "api", func(ctx context.Context) error { return server.Serve(ctx, l) }))
	return "http://" + l.Addr().String(), nil
}

// logBytes has room for 100,000 jobs that wait, each with what is kept for it.
const logBytes = 5 << 30

// connect makes a connection of a user, closed with the world.
func (w *world) connect(ctx context.Context, user string) (*broker.Broker, error) {
	b, err := broker.Connect(ctx, broker.Options{Server: w.nats, User: user, LogBytes: logBytes, Ageing: scu.DefaultAgeing, Log: slog.New(slog.DiscardHandler)})
	if err == nil {
		w.onClose(b.Close)
	}
	return b, err
}

func (w *world) openStore(ctx context.Context) error {
	server, err := postgrestest.Run(postgrestest.Place{})
	if err != nil {
		return err
	}
	w.onClose(server.Remove)
	w.postgres = server
	database, err := server.Create()
	if err != nil {
		return err
	}
	opened, err := postgres.Open(ctx, database)
	if err != nil {
		return err
	}
	w.store = opened
	w.onClose(func() { opened.Close() })
	if w.sql, err = sql.Open("pgx", database); err != nil {
		return err
	}
	w.onClose(func() { w.sql.Close() })
	return nil
}

func (w *world) newProjector() *store.Projector {
	return store.NewProjector(w.store, w.reads, store.ProjectorOptions{Log: slog.New(slog.DiscardHandler)})
}

func (w *world) startProjector(ctx context.Context) {
	w.projector = w.newProjector()
	w.stopProjector = background(ctx, "projector", w.projector.Run)
}

// background runs a part until stop is called.
func background(ctx context.Context, name string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			fmt.Fprintf(os.Stderr, "load: %s: %v\n", name, err)
		}
	}()
	return func() { cancel(); <-done }
}
