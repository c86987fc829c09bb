package broker

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/shannon-control/scu"
)

// What an arbiter reads and stores for trainers.

// file answers with a part of a file that the trainer's job reads. One that isn't on this
// machine yet is fetched first; until then the trainer is told to ask again.
func (a *Arbiter) file(m *nats.Msg) {
	q, err := asked(m)
	var part *nats.Msg
	if err == nil {
		part, err = a.part(a.ctx, q)
	}
	if err != nil || part == nil {
		a.reply(m, answer{Working: err == nil}, err)
		return
	}
	if err := m.RespondMsg(part); err != nil {
		a.b.log.Warn("answer a trainer", "error", err)
	}
}

// part reads a part of a file; nil if the file is still being fetched.
func (a *Arbiter) part(ctx context.Context, q question) (*nats.Msg, error) {
	job, err := a.owned(ctx, q)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(job.FileIDs(), q.File) || q.Offset < 0 {
		return nil, scu.Errorf(scu.CodeForbidden, "job %s doesn't read the file %.64q", q.Job, q.File)
	}
	fetched := a.fetching.DoChan(q.File, func() (any, error) { return a.files.Local(ctx, q.File) })
	var path string
	select {
	case f := <-fetched:
		if f.Err != nil {
			return nil, f.Err
		}
		path = f.Val.(string)
	case <-time.After(pollTime):
		return nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, scu.Errorf(scu.CodeUnavailable, "read file %s: %w", q.File, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, scu.Errorf(scu.CodeUnavailable, "read file %s: %w", q.File, err)
	}
	data := make([]byte, min(partSize, max(0, info.Size()-q.Offset)))
	if _, err := f.ReadAt(data, q.Offset); err != nil {
		return nil, scu.Errorf(scu.CodeUnavailable, "read file %s: %w", q.File, err)
	}
	return &nats.Msg{Data: data, Header: nats.Header{headerSize: {strconv.FormatInt(info.Size(), 10)}}}, nil
}

// upload is a blob that a trainer is sending to this arbiter, part by part.
type upload struct {
	blobs scu.Blobs // where it goes
	key   scu.BlobKey
	login string
	parts chan *nats.Msg // in order
	next  int            // of hear alone: the number of the part that must come
	ctx   context.Context
	abort context.CancelCauseFunc
}

// stalledUpload is how long the next part of an upload may take.
const stalledUpload = stallTimeout

// maxUploads bounds the uploads of one login at the same time.
const maxUploads = 8

// put begins the upload of an adapter.
func (a *Arbiter) put(ctx context.Context, q question) (answer, error) {
	return a.receive(ctx, q, a.b.Blobs(), scu.AdapterKey{Job: q.Job, Attempt: q.Attempt, Step: q.Step}.Blob())
}

// receive begins an upload, if the trainer runs the job.
func (a *Arbiter) receive(ctx context.Context, q question, blobs scu.Blobs, key scu.BlobKey) (answer, error) {
	if _, err := a.owned(ctx, q); err != nil {
		return answer{}, err
	}
	u := &upload{blobs: blobs, key: key, login: q.Trainer, parts: make(chan *nats.Msg, partsInFlight)}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return answer{}, errStops
	}
	n := 0
	for _, other := range a.uploads {
		if other.login == q.Trainer {
			n++
		}
	}
	if n >= maxUploads {
		return answer{}, scu.Errorf(scu.CodeUnavailable, "trainer %s sends %d blobs already", q.Trainer, n)
	}
	u.ctx, u.abort = context.WithCancelCause(context.WithoutCancel(ctx))
	id := nuid.Next()
	a.uploads[id] = u
	a.work.Go(func() { a.store(id, u, q) })
	return answer{Upload: id}, nil
}

// store writes what comes of an upload into its store, and answers its last part.
func (a *Arbiter) store(id string, u *upload, q question) {
	defer func() {
		u.abort(nil)
		a.mu.Lock()
		delete(a.uploads, id)
		a.mu.Unlock()
	}()
	r := &uploadReader{a: a, u: u, q: q}
	stored, err := u.blobs.Put(u.ctx, u.key, r, scu.PutOptions{})
	if err == nil && u.key == (scu.AdapterKey{Job: q.Job, Attempt: q.Attempt}).Blob() {
		a.b.dropAdapters(u.ctx, q.Job, q.Attempt-1)
	}
	if err != nil {
		u.abort(err)
		for { // what is under way is answered too
			select {
			case m := <-u.parts:
				a.reply(m, answer{}, err)
				continue
			default:
			}
			break
		}
	}
	if r.last != nil {
		a.reply(r.last, answer{Size: stored.Size, SHA256: stored.SHA256}, err)
	}
}

// uploadReader reads an upload as it comes.
type uploadReader struct {
	a    *Arbiter
	u    *upload
	q    question
	rest []byte
	last *nats.Msg // the part that is answered when all is stored
}

func (r *uploadReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.last != nil { // the job may have gone to another meanwhile
			if _, err := r.a.owned(r.u.ctx, r.q); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		stall := time.NewTimer(stalledUpload)
		select {
		case m := <-r.u.parts:
			r.rest = m.Data
			if m.Header.Get(headerEnd) != "" {
				r.last = m
			} else {
				r.a.reply(m, answer{}, nil)
			}
		case <-stall.C:
			return 0, scu.Errorf(scu.CodeUnavailable, "the next part of an upload did not come within %v", stalledUpload)
		case <-r.u.ctx.Done():
			return 0, context.Cause(r.u.ctx)
		}
		stall.Stop()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// chunk takes a part of an upload. They are heard one after another, as they were sent.
func (a *Arbiter) chunk(m *nats.Msg) {
	if !answerable(m) {
		return
	}
	a.mu.Lock()
	u := a.uploads[m.Header.Get(headerUpload)]
	a.mu.Unlock()
	if u == nil || !SpeaksFor(parseAsk(m.Subject), u.login) {
		a.reply(m, answer{}, scu.Errorf(scu.CodeUnavailable, "no such upload"))
		return
	}
	if m.Header.Get(headerPart) != strconv.Itoa(u.next) {
		u.abort(scu.Errorf(scu.CodeUnavailable, "part %d of an upload did not come", u.next))
	}
	u.next++
	select {
	case u.parts <- m:
	default:
		u.abort(fmt.Errorf("more than %d parts are under way", partsInFlight))
	}
}
