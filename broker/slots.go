package broker

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// slot is one of the jobs that an owner may run at once. A trainer takes it before it
// asks for a job, so nobody is handed one that may not run, and keeps it as it keeps the
// claim; the slot of a trainer that died is free again when its claim ends.
type slot struct {
	b       *Broker
	lane    string
	n       int
	subject string
	trainer string
	turn    chan struct{} // of capacity 1: taken by keep and free
	seq     uint64        // 0: lost or freed
}

// maxRunning is how many jobs of a lane may run at once; 0: any number.
func maxRunning(h scu.Halts, lane string) int {
	if lane == "" || len(h.Running) == 0 {
		return 0
	}
	for owner := range h.Running {
		if owner != scu.EachOwner && laneOf(owner) == lane {
			return h.MaxRunning(owner)
		}
	}
	return h.Running[scu.EachOwner]
}

// takeSlot takes one of most slots of a lane; nil if all are taken.
func (b *Broker) takeSlot(ctx context.Context, lane, trainer string, most int) (*slot, error) {
	s, err := b.stream(ctx, slotsStream)
	if err != nil {
		return nil, err
	}
	var info *jetstream.StreamInfo
	err = b.try(ctx, func(ctx context.Context) (err error) {
		info, err = s.Info(ctx, jetstream.WithSubjectFilter("scu.slot."+lane+".*"))
		return err
	})
	if err != nil {
		return nil, fault(err, "read who runs jobs of an owner")
	}
	if len(info.State.Subjects) >= most {
		return nil, nil
	}
	for n := range most {
		subject := slotSubject(lane, n)
		if info.State.Subjects[subject] > 0 {
			continue
		}
		seq, err := b.writeSlot(ctx, subject, trainer, 0)
		if err == nil && seq > 0 {
			return &slot{b: b, lane: lane, n: n, subject: subject, trainer: trainer, turn: make(chan struct{}, 1), seq: seq}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// slotOf is a slot that a trainer has taken; nil if it has it no more.
func (b *Broker) slotOf(ctx context.Context, lane string, n int, trainer string) (*slot, error) {
	if lane == "" || n < 0 {
		return nil, nil
	}
	subject := slotSubject(lane, n)
	m, err := b.last(ctx, slotsStream, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && string(m.Data) != trainer {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &slot{b: b, lane: lane, n: n, subject: subject, trainer: trainer, turn: make(chan struct{}, 1), seq: m.Sequence}, nil
}

// writeSlot writes a slot that was last written at sequence after, 0 if it is free; 0 if
// another was faster.
func (b *Broker) writeSlot(ctx context.Context, subject, trainer string, after uint64) (uint64, error) {
	ack, err := b.publish(ctx, &nats.Msg{Subject: subject, Data: []byte(trainer)}, jetstream.WithExpectLastSequencePerSubject(after))
	if outrun(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fault(err, "take a slot of an owner")
	}
	return ack.Sequence, nil
}

// keep makes the slot last for another claim time.
func (s *slot) keep(ctx context.Context) {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.seq == 0 {
		return
	}
	seq, err := s.b.writeSlot(ctx, s.subject, s.trainer, s.seq)
	switch {
	case err != nil && ctx.Err() == nil:
		s.b.log.Warn("keep the slot of an owner", "error", err)
	case err == nil && seq == 0:
		s.b.log.Warn("a job runs beyond what its owner may run at once: its trainer was silent for too long", "trainer", s.trainer)
		fallthrough
	case err == nil:
		s.seq = seq
	}
}

// free gives the slot back, and wakes a trainer for a job that waited for it.
func (s *slot) free() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.seq == 0 {
		return
	}
	seq := s.seq
	s.seq = 0
	ctx, cancel := context.WithTimeout(context.Background(), s.b.opts.timeout)
	defer cancel()
	if err := s.b.deleteSlot(ctx, seq); err != nil {
		s.b.log.Warn("an owner's slot is free when it expires", "error", err)
		return
	}
	all, err := s.b.standings(ctx)
	if err != nil {
		return // idle trainers look by themselves
	}
	for _, l := range ofLane(all, s.lane) {
		if l.waiting > 0 {
			s.b.ring(l.level)
		}
	}
}

func (b *Broker) deleteSlot(ctx context.Context, seq uint64) error {
	s, err := b.stream(ctx, slotsStream)
	if err != nil {
		return err
	}
	err = s.DeleteMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return nil
	}
	return err
}

// freeSlotsOf frees the slots of trainers that are gone.
func (b *Broker) freeSlotsOf(ctx context.Context, gone func(trainer string) bool) error {
	for seq := uint64(1); ; seq++ {
		m, err := b.message(ctx, slotsStream, seq, jetstream.WithGetMsgSubject("scu.slot.>"))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		seq = m.Sequence
		if gone(string(m.Data)) {
			if err := b.try(ctx, func(ctx context.Context) error { return b.deleteSlot(ctx, seq) }); err != nil {
				return fault(err, "free a slot of an owner")
			}
		}
	}
}

// slotsConfig is the stream of the slots that are taken. A claim lasts as long as they do.
func slotsConfig(claim time.Duration) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              slotsStream,
		Description:       "Jobs that run of owners who may run so many at once",
		Subjects:          []string{"scu.slot.*.*"},
		MaxMsgsPerSubject: 1,
		MaxAge:            claim,
		MaxBytes:          16 << 20,
		Discard:           jetstream.DiscardNew,
	}
}
