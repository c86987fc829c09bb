package broker

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/shannon-control/scu"
)

// agentCheckpoints is [scu.Blobs] of which checkpoints of the trainer's jobs can be stored,
// listed, read from the first byte to the last, and deleted, and nothing else be done.
type agentCheckpoints struct {
	scu.Blobs // nil: whoever asks for more is mistaken
	a         *Agent
}

// Checkpoints are those that trainers share through NATS.
func (a *Agent) Checkpoints() scu.Blobs { return agentCheckpoints{a: a} }

// ask is a question about a checkpoint, or, if it is only a prefix, about those of a job.
func (c agentCheckpoints) ask(kind scu.BlobKind, name string) (question, error) {
	job, _, ok := strings.Cut(name, ".")
	if kind != scu.CheckpointBlob || !ok {
		return question{}, scu.Errorf(scu.CodeForbidden, "a trainer may use checkpoints of its jobs, not %s/%.80q", kind, name)
	}
	q := question{Trainer: c.a.trainer, Job: job, Saved: name}
	if running, attempt := c.a.running(); running == job {
		q.Attempt = attempt
	}
	return q, nil
}

// Put implements scu.Blobs.
func (c agentCheckpoints) Put(ctx context.Context, key scu.BlobKey, r io.Reader, o scu.PutOptions) (scu.Blob, error) {
	q, err := c.ask(key.Kind, key.Name)
	if err != nil {
		return scu.Blob{}, err
	}
	stored, err := c.a.upload(ctx, askSave, q, o.Take(ctx, r))
	return scu.Blob{Key: key, Size: stored.Size, SHA256: stored.SHA256}, err
}

// List implements scu.Blobs, of the checkpoints of one job.
func (c agentCheckpoints) List(ctx context.Context, kind scu.BlobKind, prefix, after string, limit int) (page []scu.Blob, more bool, err error) {
	q, err := c.ask(kind, prefix)
	if err != nil {
		return nil, false, err
	}
	for q.Saved, more = after, true; more; {
		out, err := c.a.insist(ctx, askSaved, "", q)
		if err != nil {
			return nil, false, err
		}
		for _, b := range out.Saved {
			if q.Saved = b.Key.Name; !strings.HasPrefix(b.Key.Name, prefix) {
				continue
			}
			if len(page) == limit {
				return page, true, nil
			}
			page = append(page, b)
		}
		more = out.More && len(out.Saved) > 0
	}
	return page, false, nil
}

// Delete implements scu.Blobs.
func (c agentCheckpoints) Delete(ctx context.Context, key scu.BlobKey) error {
	q, err := c.ask(key.Kind, key.Name)
	if err == nil {
		_, err = c.a.insist(ctx, askForget, "", q)
	}
	return err
}

// Get implements scu.Blobs.
func (c agentCheckpoints) Get(ctx context.Context, key scu.BlobKey, from, length int64) (io.ReadCloser, scu.Blob, error) {
	q, err := c.ask(key.Kind, key.Name)
	if err == nil && (from != 0 || length >= 0) {
		err = scu.Errorf(scu.CodeForbidden, "a trainer reads its job's checkpoints, whole")
	}
	if err != nil {
		return nil, scu.Blob{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &sentReader{ctx: ctx, cancel: cancel, a: c.a, q: q}
	if err := r.begin(); err != nil {
		cancel()
		return nil, scu.Blob{}, err
	}
	b := r.blob
	b.Key = key
	return b.Verified(r), b, nil
}

// sentReader reads a checkpoint that an arbiter sends. If that one goes it asks another to
// go on from where it is.
type sentReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	a      *Agent
	q      question // q.Offset is how far it is
	blob   scu.Blob

	id      string // of the sending
	arbiter string
	replies *nats.Subscription
	part    int   // the number of the next part
	asked   int64 // up to here
	rest    []byte
}

// begin asks an arbiter to send from where the reader is.
func (r *sentReader) begin() error {
	out, err := r.a.insist(r.ctx, askFetch, "", r.q)
	if err != nil {
		return err
	}
	if len(out.Saved) != 1 || r.blob.SHA256 != "" && r.blob.SHA256 != out.Saved[0].SHA256 {
		return scu.Errorf(scu.CodeConflict, "checkpoint %.80q is another by now", r.q.Saved)
	}
	r.end()
	if r.replies, err = r.a.b.bulk.SubscribeSync(r.a.b.bulk.NewInbox()); err != nil {
		return fault(err, "read from an arbiter")
	}
	r.blob, r.id, r.arbiter, r.part, r.asked = out.Saved[0], out.Upload, out.Arbiter, 0, r.q.Offset
	return nil
}

// end leaves a sending.
func (r *sentReader) end() {
	if r.replies != nil {
		r.replies.Unsubscribe()
	}
}

func (r *sentReader) Read(p []byte) (int, error) {
	for alive := time.Now(); len(r.rest) == 0 && r.q.Offset < r.blob.Size; {
		err := r.next()
		if err == nil {
			break
		}
		if scu.CodeOf(err) != scu.CodeUnavailable || r.ctx.Err() != nil || time.Since(alive) > partTime {
			return 0, err
		}
		r.a.pause(r.ctx)
		if err := r.begin(); err != nil {
			return 0, err
		}
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// next waits for the next part, and asks for some ahead.
func (r *sentReader) next() error {
	for r.asked < r.blob.Size && r.asked < r.q.Offset+partsInFlight*partSize {
		m := &nats.Msg{Subject: askSubject(r.a.login, askMore, r.arbiter), Reply: r.replies.Subject, Header: nats.Header{headerUpload: {r.id}}}
		if err := r.a.b.bulk.PublishMsg(m); err != nil {
			return fault(err, "read from an arbiter")
		}
		r.asked += partSize
	}
	within, cancel := context.WithTimeout(r.ctx, partTime/3)
	defer cancel()
	m, err := r.replies.NextMsgWithContext(within)
	switch {
	case r.ctx.Err() != nil:
		return context.Cause(r.ctx)
	case err != nil:
		return fault(err, "read from an arbiter")
	case m.Header.Get("Status") == noResponders:
		return errNobody
	}
	part := m.Header.Get(headerPart)
	if part == "" {
		if _, err := told(m); err != nil {
			return err
		}
	}
	if part != strconv.Itoa(r.part) || len(m.Data) == 0 {
		return scu.Errorf(scu.CodeUnavailable, "part %d of a checkpoint did not come", r.part)
	}
	r.rest = m.Data
	r.part++
	r.q.Offset += int64(len(m.Data))
	return nil
}

// Close ends the reading.
func (r *sentReader) Close() error {
	r.end()
	r.cancel()
	return nil
}
