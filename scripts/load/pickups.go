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
func pickups(ctx context.Context, w *world, o options) ([]row, error) {
	n, trainers := o.scaled(1000, 20), o.scaled(200, 4)
	took, err := w.pickups(ctx, "idle", "cpu", trainers, n)
	if err != nil {
		return nil, err
	}
	return []row{{fmt.Sprintf("submission to start, %d idle trainers", trainers), n, quantiles(took), "p99 10 ms"}}, nil
}

// pickups submits n jobs of a class, each when the one before has started, to idle trainers
// with names that begin so.
func (w *world) pickups(ctx context.Context, name, class string, trainers, n int) (took []time.Duration, err error) {
	started, dismiss, err := w.trainers(ctx, name, class, trainers)
	if err != nil {
		return nil, err
	}
	defer dismiss()
	for range n {
		e := scu.Submission(scu.Job{Name: "load", BaseModel: scu.BuiltInModel, Config: scu.DefaultConfig(), Class: class}, time.Now())
		begin := time.Now()
		if _, err := w.broker.Submit(ctx, e); err != nil {
			return nil, err
		}
		id, err := next(ctx, started)
		if err != nil {
			return nil, err
		}
		if id != e.Job.ID {
			return nil, fmt.Errorf("job %s was started instead of %s", id, e.Job.ID)
		}
		took = append(took, time.Since(begin))
	}
	return took, nil
}

// next is the job that is started next.
func next(ctx context.Context, started <-chan string) (string, error) {
	select {
	case id := <-started:
		return id, nil
	case <-time.After(time.Minute):
		return "", fmt.Errorf("no job was started for a minute")
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// trainers lets so many trainers of a class work, which tell the jobs that they start, until
// dismiss is called.
func (w *world) trainers(ctx context.Context, prefix, class string, n int) (started <-chan string, dismiss func(), err error) {
	ctx, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	dismiss = func() { stop(); all.Wait() }
	defer func() {
		if err != nil {
			dismiss()
		}
	}()
	tell := make(chan string)
	for i := range n {
		name := fmt.Sprintf("%s-%d", prefix, i)
		b, err := w.connect(ctx, broker.TrainerUser(name))
		if err != nil {
			return nil, nil, err
		}
		agent, err := broker.NewAgent(b, name, name)
		if err != nil {
			return nil, nil, err
		}
		q, err := agent.Queue(ctx, name, []string{class})
		if err != nil {
			return nil, nil, err
		}
		all.Go(func() {
			defer agent.Close()
			defer q.Close()
			for ctx.Err() == nil {
				work(ctx, agent, q, name, tell)
			}
		})
	}
	return tell, dismiss, nil
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
