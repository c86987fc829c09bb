package main

import (
	"context"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/trainer"
)

// link is how a trainer reaches the rest of the service.
type link struct {
	broker      trainer.Broker
	files       scu.LocalFiles
	ping        func(context.Context) error
	checkpoints scu.Blobs // shared with other trainers; nil if they aren't
}

// asking links a trainer that asks arbiters for all that it needs. Files come from the
// folder that the roles share, if there is one.
func (p *process) asking(b *broker.Broker, login, name string) (link, error) {
	agent, err := broker.NewAgent(b, login, name)
	if err != nil {
		return link{}, err
	}
	p.onClose(agent.Close)
	l := link{broker: agent, ping: agent.Ping}
	l.files, err = p.filesOf(agent)
	switch {
	case p.nats != nil: // in this process
		l.checkpoints = p.sharedCheckpoints(p.broker)
	case p.set.Blobs == natsBlobs:
		l.checkpoints = agent.Checkpoints()
	default:
		l.checkpoints = p.blobs
	}
	return l, err
}

// linkTrainer links a trainer of another process. With a login of a version that had no
// arbiters it may not ask them, and does everything itself, as trainers did then.
func (p *process) linkTrainer(ctx context.Context, login, name string) (link, error) {
	agent, err := broker.NewAgent(p.broker, login, name)
	if err != nil {
		return link{}, err
	}
	err = p.patiently(ctx, func() error { return agent.Reach(ctx) })
	agent.Close()
	switch {
	case err == nil:
		return p.asking(p.broker, login, name)
	case scu.CodeOf(err) != scu.CodeForbidden:
		return link{}, err
	}
	if err := p.patiently(ctx, func() error { return p.broker.SeesQueue(ctx) }); err != nil {
		return link{}, err
	}
	p.log.Warn("this trainer's login is of an older version and lets whoever steals it end any job; write a new one with scu nats-auth", "trainer", name)
	l := link{broker: p.broker, ping: p.broker.Ping, checkpoints: p.sharedCheckpoints(p.broker)}
	l.files, err = p.filesOf(p.broker)
	return l, err
}
