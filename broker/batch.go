package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/shannon-control/scu"
)

// Headers of an atomic batch: the server stores all its messages at the last one, or none.
const (
	batchID       = "Nats-Batch-Id"
	batchSequence = "Nats-Batch-Sequence"
	batchCommit   = "Nats-Batch-Commit"
)

// SubmitAll appends the first entries of several jobs at once; see [scu.Log].
func (b *Broker) SubmitAll(ctx context.Context, all []scu.Event) error {
	if len(all) == 0 || len(all) > scu.MaxBatch {
		return scu.Errorf(scu.CodeInvalid, "a batch has 1 to %d jobs, not %d", scu.MaxBatch, len(all))
	}
	messages := make([]*nats.Msg, len(all))
	space := int64(0)
	for i, e := range all {
		subject, data, err := b.submission(ctx, e)
		if err != nil {
			return err
		}
		space += spaceOf(data)
		messages[i] = &nats.Msg{Subject: subject, Data: data, Header: nats.Header{
			batchSequence:                           {strconv.Itoa(i + 1)},
			jetstream.ExpectedLastSubjSeqHeader:     {"0"},
			jetstream.ExpectedLastSubjSeqSubjHeader: {stateGuard(e.Job.ID)},
		}}
	}
	taken, err := b.room.admit(ctx, space)
	if err != nil {
		return err
	}
	defer taken()
	var read []string
	for _, e := range all {
		read = append(read, e.Job.FileIDs()...)
	}
	slices.Sort(read)
	if err := b.unmark(ctx, slices.Compact(read)); err != nil {
		return err
	}
	messages[len(all)-1].Header.Set(batchCommit, "1")
	for range rounds(ctx) {
		err := b.appendAll(ctx, messages)
		switch {
		case codeOf(err) == codeStillStoring: // whether these ids are taken isn't known yet
			continue
		case outrun(err):
			return scu.Errorf(scu.CodeConflict, "one of the %d job ids is taken", len(all))
		}
		return fault(err, "append %d jobs to the log", len(all))
	}
	return scu.Errorf(scu.CodeUnavailable, "append %d jobs to the log: NATS is still storing a rival's", len(all)).WithHint("try again")
}

// appendAll sends the messages of a batch once.
func (b *Broker) appendAll(ctx context.Context, messages []*nats.Msg) error {
	id, last := nuid.Next(), len(messages)-1
	for i, m := range messages {
		m.Header.Set(batchID, id)
		if i < last && i > 0 { // no answer comes before the last one's, but the first tells if there are no batches
			if err := b.nc.PublishMsg(m); err != nil {
				return err
			}
			continue
		}
		if err := b.inBatch(ctx, m, i == last); err != nil {
			return err
		}
	}
	return nil
}

// inBatch sends a message of a batch and waits for its answer, which but for the last is
// empty.
func (b *Broker) inBatch(ctx context.Context, m *nats.Msg, last bool) error {
	ctx, cancel := b.bound(ctx)
	defer cancel()
	reply, err := b.nc.RequestMsgWithContext(ctx, m)
	if err != nil || len(reply.Data) == 0 && !last {
		return err
	}
	return batchAnswer(reply.Data)
}

// batchAnswer returns the error of an answer to a batch.
func batchAnswer(data []byte) error {
	var answer struct {
		Error  *jetstream.APIError `json:"error"`
		Stream string              `json:"stream"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return fmt.Errorf("the answer to a batch: %w", err)
	}
	if answer.Error != nil {
		return answer.Error
	}
	if answer.Stream == "" {
		return errors.New("the answer to a batch names no stream")
	}
	return nil
}
