//go:build unix

package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
)

// pickups measures the time from a job's submission until an idle trainer has started it,
// with so many trainers that wait.
func pickups(ctx context.Context, w *world, scale float64) ([]row, error) {
	n, trainers := max(20, int(1000*scale)), max(4, int(200*scale))
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	started := make(chan string)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for i := range trainers {
		name := fmt.Sprintf("load-%d", i)
		b, err := w.connect(ctx, broker.TrainerUser(name))
		if err != nil {
			return nil, err
		}
		agent, err := broker.NewAgent(b, name, name)
		if err != nil {
			return nil, err
		}
		q, err := agent.Queue(ctx, name, []string{"cpu"})
		if err != nil {
			return nil, err
		}
		all.Go(func() {
			defer agent.Close()
			defer q.Close()
			for ctx.Err() == nil {
				work(ctx, agent, q, name, started)
			}
		})
	}
	var took []time.Duration
	for range n {
		e := scu.Submission(scu.Job{Name: "load", BaseModel: scu.BuiltInModel, Config: scu.DefaultConfig(), Class: "cpu"}, time.Now())
		begin := time.Now()
		if _, err := w.broker.Submit(ctx, e); err != nil {
			return nil, err
		}
		select {
		case id := <-started:
			if id != e.Job.ID {
				return nil, fmt.Errorf("job %s was started instead of %s", id, e.Job.ID)
			}
			took = append(took, time.Since(begin))
		case <-time.After(time.Minute):
			return nil, fmt.Errorf("job %s was not started", e.Job.ID)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return []row{{fmt.Sprintf("submission to start, %d idle trainers", trainers), n, quantiles(took), "p99 10 ms"}}, nil
}

// work takes a job through its states, as a trainer does, without computing anything.
func work(ctx context.Context, b scu.Attempts, q scu.Queue, name string, started chan<- string) {
	c, err := q.Next(ctx)
	if err != nil {
		return
	}
	id := c.Job().ID
	j, err := b.Say(ctx, id, name, scu.Word{Type: scu.EventStarted})
	if err != nil {
		c.Nak(0)
		return
	}
	_, release := c.Hold(ctx, j.Attempt)
	defer release()
	select {
	case started <- id:
	case <-ctx.Done():
		return
	}
	a := scu.Adapter{JobID: id, BaseModel: j.BaseModel, Name: id + ".zip"}
	if _, err := b.Say(ctx, id, name, scu.Word{Type: scu.EventCompleted, Attempt: j.Attempt, Adapter: &a}); err == nil {
		c.Ack()
	}
}
