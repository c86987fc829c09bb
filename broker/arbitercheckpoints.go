package broker

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/shannon-control/scu"
)

// What an arbiter does with the checkpoints that trainers share through NATS: the one that
// runs a job stores, reads and removes those of that job. One that ran it removes them once
// it has ended.

// savedBlob is the checkpoint that a question names, which must be of its job.
func savedBlob(q question) (scu.BlobKey, error) {
	if q.Job == "" || !strings.HasPrefix(q.Saved, q.Job+".") {
		return scu.BlobKey{}, scu.Errorf(scu.CodeForbidden, "%.80q is no checkpoint of job %.64q", q.Saved, q.Job)
	}
	return scu.BlobKey{Kind: scu.CheckpointBlob, Name: q.Saved}, nil
}

// hasSaved refuses a trainer that neither runs a job nor ran it, if it has ended.
func (a *Arbiter) hasSaved(ctx context.Context, q question) error {
	job, err := a.b.Fate(ctx, q.Job, q.Trainer)
	switch {
	case err != nil:
		return err
	case job.Status == scu.Running && job.Trainer == q.Trainer:
		return nil
	case job.Status.Ended():
		if attempt, err := a.began(ctx, q, 1); err != nil || attempt > 0 {
			return err
		}
	}
	return scu.Errorf(scu.CodeForbidden, "job %s is not with trainer %s", q.Job, q.Trainer)
}

// savedPage is how many checkpoints one answer lists: a job keeps two of each run.
const savedPage = 100

// saved lists checkpoints of a job.
func (a *Arbiter) saved(ctx context.Context, q question) (out answer, err error) {
	if err := a.hasSaved(ctx, q); err != nil {
		return answer{}, err
	}
	out.Saved, out.More, err = a.b.Objects().List(ctx, scu.CheckpointBlob, q.Job+".", q.Saved, savedPage)
	return out, err
}

// save begins the upload of a checkpoint.
func (a *Arbiter) save(ctx context.Context, q question) (answer, error) {
	key, err := savedBlob(q)
	if err != nil {
		return answer{}, err
	}
	return a.receive(ctx, q, a.b.Objects(), key)
}

// forgetSaved removes a checkpoint.
func (a *Arbiter) forgetSaved(ctx context.Context, q question) (answer, error) {
	key, err := savedBlob(q)
	if err == nil {
		err = a.hasSaved(ctx, q)
	}
	if err != nil {
		return answer{}, err
	}
	return answer{}, a.b.Objects().Delete(ctx, key)
}

// sending is a checkpoint that a trainer reads from this arbiter, part by part.
type sending struct {
	login  string
	wanted chan *nats.Msg // questions for the next part, in order
}

// fetch begins the sending of a checkpoint from an offset on.
func (a *Arbiter) fetch(ctx context.Context, q question) (answer, error) {
	key, err := savedBlob(q)
	if err == nil {
		_, err = a.owned(ctx, q)
	}
	if err == nil && q.Offset < 0 {
		err = scu.Errorf(scu.CodeInvalid, "offset %d", q.Offset)
	}
	if err != nil {
		return answer{}, err
	}
	s := &sending{login: q.Trainer, wanted: make(chan *nats.Msg, partsInFlight)}
	id := nuid.Next()
	a.mu.Lock()
	n := 0
	for _, other := range a.sending {
		if other.login == q.Trainer {
			n++
		}
	}
	refused := a.closed || n >= maxUploads
	if !refused {
		a.sending[id] = s
	}
	a.mu.Unlock()
	if refused {
		return answer{}, scu.Errorf(scu.CodeUnavailable, "this arbiter sends trainer %s %d checkpoints already, or stops", q.Trainer, n)
	}
	forget := func() {
		a.mu.Lock()
		delete(a.sending, id)
		a.mu.Unlock()
	}
	r, stored, err := a.b.Objects().Get(a.ctx, key, q.Offset, -1)
	if err != nil {
		forget()
		return answer{}, err
	}
	a.work.Go(func() {
		defer forget()
		defer r.Close()
		a.send(s, r, stored.Size-q.Offset)
	})
	return answer{Upload: id, Saved: []scu.Blob{stored}}, nil
}

// send answers each question for a part of so many bytes, until the last one or until none
// comes.
func (a *Arbiter) send(s *sending, r io.Reader, left int64) {
	data := make([]byte, partSize)
	for part := 0; ; part++ {
		stall := time.NewTimer(stalledUpload)
		var m *nats.Msg
		select {
		case m = <-s.wanted:
		case <-stall.C:
			return
		case <-a.ctx.Done():
			return
		}
		stall.Stop()
		n, err := io.ReadFull(r, data)
		end := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !end {
			a.reply(m, answer{}, err)
			return
		}
		if err := m.RespondMsg(&nats.Msg{Data: data[:n], Header: nats.Header{headerPart: {strconv.Itoa(part)}}}); err != nil {
			a.b.log.Warn("answer a trainer", "error", err)
		}
		if left -= int64(n); end || left <= 0 {
			return
		}
	}
}

// more takes a question for the next part.
func (a *Arbiter) more(m *nats.Msg) {
	if !answerable(m) {
		return
	}
	a.mu.Lock()
	s := a.sending[m.Header.Get(headerUpload)]
	a.mu.Unlock()
	if s == nil || !SpeaksFor(parseAsk(m.Subject), s.login) {
		a.reply(m, answer{}, scu.Errorf(scu.CodeUnavailable, "nothing is sent to you under that name"))
		return
	}
	select {
	case s.wanted <- m:
	default: // more questions than may be open: this one has no answer
	}
}
