package main

import (
	"context"

	"github.com/shannon-control/scu/broker"
)

// answerTrainers makes a projector's arbiter, if it has a login for one, which answers until
// the process closes. The projector's own may only read.
func (p *process) answerTrainers(ctx context.Context) error {
	if p.set.ArbiterURL == "" {
		return nil
	}
	if err := p.openBlobs(ctx); err != nil {
		return err
	}
	var b *broker.Broker
	err := p.patiently(ctx, func() (err error) {
		b, err = p.connectTo(ctx, p.set.ArbiterURL, "")
		return err
	})
	if err != nil {
		return err
	}
	f, err := p.filesOf(b)
	if err != nil {
		return err
	}
	arbiter, err := broker.NewArbiter(b, f)
	if err == nil {
		p.onClose(arbiter.Close)
	}
	return err
}
