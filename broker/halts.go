package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// haltsSubject is where the log has what is halted, which trainers may read as they read
// jobs. The newest entry alone is kept; followers skip it.
const haltsSubject = "scu.state.halts"

// haltsEntry is that entry. Its beginning tells it from a job's.
type haltsEntry struct {
	Type  string    `json:"type"`
	Halts scu.Halts `json:"halts"`
}

var haltsPrefix = []byte(`{"type":"halts",`)

func isHalts(data []byte) bool { return bytes.HasPrefix(data, haltsPrefix) }

// haltedWait is when a trainer that takes no jobs looks again whether it may.
const haltedWait = time.Second

var errHalted = errors.New("the queue or the trainer is halted")

// HaltQueue halts or releases the queue; see [scu.Operator].
func (b *Broker) HaltQueue(ctx context.Context, halt bool) error {
	return b.changeHalts(ctx, func(h *scu.Halts) { h.Queue = halt })
}

// Drain halts or releases a trainer; see [scu.Operator].
func (b *Broker) Drain(ctx context.Context, trainer string, drain bool) error {
	if !scu.ValidTrainer(trainer) {
		return invalid("trainer name", trainer)
	}
	return b.changeHalts(ctx, func(h *scu.Halts) {
		h.Trainers = slices.DeleteFunc(h.Trainers, func(name string) bool { return name == trainer })
		if drain {
			h.Trainers = append(h.Trainers, trainer)
			slices.Sort(h.Trainers)
		}
	})
}

// LimitRunning limits how many jobs of an owner run at once; see [scu.Operator].
func (b *Broker) LimitRunning(ctx context.Context, running map[string]int) error {
	if h, _, err := b.halts(ctx); err == nil && maps.Equal(h.Running, running) {
		return nil
	}
	return b.changeHalts(ctx, func(h *scu.Halts) { h.Running = running })
}

// Halted returns what is halted; see [scu.Operator].
func (b *Broker) Halted(ctx context.Context) (scu.Halts, error) {
	h, _, err := b.halts(ctx)
	return h, err
}

func (b *Broker) halts(ctx context.Context) (h scu.Halts, seq uint64, err error) {
	m, err := b.last(ctx, stateStream, haltsSubject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return h, 0, nil
	}
	if err != nil {
		return h, 0, err
	}
	var e haltsEntry
	if err := json.Unmarshal(m.Data, &e); err != nil {
		return h, 0, scu.Errorf(scu.CodeInternal, "what is halted can't be read: %w", err)
	}
	return e.Halts, m.Sequence, nil
}

func (b *Broker) changeHalts(ctx context.Context, change func(*scu.Halts)) error {
	for range rounds(ctx) {
		h, seq, err := b.halts(ctx)
		if err != nil {
			return err
		}
		change(&h)
		data, err := json.Marshal(haltsEntry{"halts", h})
		if err != nil {
			return err
		}
		m := &nats.Msg{Subject: haltsSubject, Data: data, Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}}
		_, err = b.publish(ctx, m, jetstream.WithExpectLastSequencePerSubject(seq))
		if outrun(err) {
			continue
		}
		return fault(err, "halt or release")
	}
	return scu.Errorf(scu.CodeUnavailable, "others halt and release at the same time")
}

// mayTake returns what is limited, or errHalted if the queue's trainer takes no jobs now.
func (q *queue) mayTake(ctx context.Context) (scu.Halts, error) {
	h, err := q.b.Halted(ctx)
	if err == nil && (h.Queue || slices.Contains(h.Trainers, q.trainer)) {
		return h, errHalted
	}
	return h, err
}

// confirm gives a claim back that was made while the queue or the trainer was being halted: what is
// claimed after that was answered isn't begun.
func (q *queue) confirm(ctx context.Context, c *claim) error {
	_, err := q.mayTake(ctx)
	if err != nil {
		if e := c.Nak(0); e != nil {
			q.b.log.Warn("a job of a halted queue is handed out again when the claim ends", "job", c.id, "error", e)
		}
	}
	return err
}
