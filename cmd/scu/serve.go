package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

// superviseEvery is how often the queue is looked over.
const superviseEvery = 10 * time.Second

func (a *app) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the whole service in this process",
		Long: `Runs NATS, the API, the projector and the trainers in one process, over one data
folder. It prints one line when it is ready. SIGTERM or Ctrl-C drains: no new
requests, running jobs are checkpointed and queued again, then it ends; a second
signal ends it at once. Either way jobs go on when it is started again.`,
		Args: cobra.NoArgs,
		RunE: a.role(func(ctx context.Context, s Settings, _ []string) error {
			return serve(ctx, s, func(r ready) error { return a.tellReady(r) })
		}),
	}
	addFlags(c.Flags(), serveFlags)
	return c
}

// ready is what is told once requests are answered.
type ready struct {
	APIURL   string  `json:"api_url"`
	Data     string  `json:"data"`
	Trainers int     `json:"trainers"`
	Threads  int     `json:"threads_each"`
	Seconds  float64 `json:"seconds"` // since the start
}

func (a *app) tellReady(r ready) error {
	if a.json {
		return printJSON(a.out, r)
	}
	_, err := fmt.Fprintf(a.out, "scu serve: ready at %s after %.2f s; trainers: %d, threads for each: %d; data in %s\n",
		r.APIURL, r.Seconds, r.Trainers, r.Threads, r.Data)
	return err
}

// serve runs everything until ctx ends, and drains then. tell is called once, when
// requests are answered.
func serve(ctx context.Context, s Settings, tell func(ready) error) error {
	begin := time.Now()
	if s.DataDirs == nil {
		// A service manager starts programs in the root folder, which nobody means.
		if wd, err := os.Getwd(); err == nil && filepath.Dir(wd) != wd {
			s.DataDirs = []string{wd}
		}
	}
	p, err := newProcess(ctx, "serve", s)
	if err != nil {
		return err
	}
	defer p.close()
	if s.NATSURL != "" {
		p.log.Warn("SCU_NATS_URL has no effect on serve, which runs its own NATS; scu api, scu trainer and scu projector use it")
		p.set.NATSURL = ""
	}
	if err := p.openBlobs(ctx); err != nil {
		return err
	}
	if err := p.startNATS(ctx); err != nil {
		return err
	}
	l, err := p.listen()
	if err != nil {
		return err
	}
	defer l.Close()
	if err := p.openStore(ctx); err != nil {
		return err
	}
	server, err := p.newAPI()
	if err != nil {
		return err
	}
	trainers, err := p.trainers(ctx)
	if err != nil {
		return err
	}
	p.takeBack(ctx)

	// What takes work in ends first, what keeps account of it last.
	back, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	keepers, back := errgroup.WithContext(back)
	front, frontCtx := errgroup.WithContext(ctx)
	frontCtx, drain := context.WithCancel(frontCtx)
	defer context.AfterFunc(back, drain)()

	keepers.Go(func() error { return p.project(back) })
	keepers.Go(func() error { return p.collect(back) })
	keepers.Go(func() error { p.scrub.Run(back); return nil })
	keepers.Go(func() error { p.broker.Supervise(back, superviseEvery); return nil })
	keepers.Go(func() error { p.arbiter.Serve(back); return nil })
	if p.set.AdaptersDir != "" {
		keepers.Go(func() error { return p.copyAdapters(back) })
	}
	front.Go(func() error { return server.Serve(frontCtx, l) })
	for _, t := range trainers {
		front.Go(func() error { return t.Run(frontCtx) })
	}
	err = tell(ready{"http://" + l.Addr().String(), p.set.Data, len(trainers), p.threadsEach(), time.Since(begin).Seconds()})
	if err != nil {
		drain()
	}
	context.AfterFunc(ctx, func() { p.log.Info("draining: running jobs are checkpointed and queued again") })
	err = errors.Join(err, front.Wait())
	stop()
	return errors.Join(err, keepers.Wait())
}
