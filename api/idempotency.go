package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// keyed is a submission under a client's own key. The same one again is the same job,
// whichever API it comes to: the key is bound to the job's id before the job is in the
// log, which takes an id once.
type keyed struct {
	s       *Server
	key     string // "": none
	request string // sha256 of what is asked for
	id      string // of the job that the key is bound to; "" if it isn't yet
}

// keyed looks a submission's key up. If its job is known, the answer is what it was.
func (s *Server) keyed(ctx context.Context, key string, req any) (k keyed, known *client.SubmitResponse, err error) {
	k = keyed{s: s, key: key}
	if key == "" {
		return k, nil, nil
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return k, nil, scu.Errorf(scu.CodeInvalid, "a key is of printable ASCII characters").At("Idempotency-Key").WithHint("take a UUID")
	}
	body, err := json.Marshal(req) // in one form, however the client wrote it
	if err != nil {
		return k, nil, err
	}
	if owner := callerOf(ctx).owner; owner != "" { // owners don't share keys; no client's has a line break
		k.key = owner + "\n" + key
	}
	sum := sha256.Sum256(body)
	k.request = hex.EncodeToString(sum[:])
	bound, err := s.o.Broker.Reserved(ctx, k.key)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return k, nil, nil
	}
	if err != nil {
		return k, nil, err
	}
	if err := k.take(bound); err != nil {
		return k, nil, err
	}
	known, err = k.answer(ctx)
	if scu.CodeOf(err) == scu.CodeNotFound { // an API died between the two, or is about to submit it
		return k, nil, nil
	}
	return k, known, err
}

func (k *keyed) take(bound scu.KeyedSubmission) error {
	if bound.Request != k.request {
		return scu.Errorf(scu.CodeConflict, "this key was used for another submission, job %s", bound.JobID).At("Idempotency-Key").
			WithHint("take a new key for a new submission")
	}
	k.id = bound.JobID
	return nil
}

// submit appends a job's first entry, under the id that the key is bound to.
func (k *keyed) submit(ctx context.Context, e scu.Event, room *admission) (*client.SubmitResponse, error) {
	id, err := k.bind(ctx, e.Job.ID)
	if err != nil {
		return nil, err
	}
	e.Job.ID = id
	room.sends(1)
	seq, err := k.s.o.Broker.Submit(ctx, e)
	if k.id != "" && scu.CodeOf(err) == scu.CodeConflict { // the same submission was faster
		return k.answer(ctx)
	}
	if err != nil {
		return nil, err
	}
	room.took(seq)
	return submitted(e.Job), nil
}

// bind returns the id that the key is bound to, which is id if it is new or there is none.
func (k *keyed) bind(ctx context.Context, id string) (string, error) {
	if k.key == "" {
		return id, nil
	}
	if k.id == "" {
		bound, err := k.s.o.Broker.Reserve(ctx, k.key, scu.KeyedSubmission{JobID: id, Request: k.request})
		if err != nil {
			return "", err
		}
		if err := k.take(bound); err != nil {
			return "", err
		}
	}
	return k.id, nil
}

// answer is what the submission was answered with, as the log has it.
func (k *keyed) answer(ctx context.Context) (*client.SubmitResponse, error) {
	e, err := k.s.o.Broker.First(ctx, k.id)
	if err != nil {
		return nil, err
	}
	return submitted(e.Job), nil
}
