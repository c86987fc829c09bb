package broker

import (
	"context"
	"encoding/json"
	"io"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/shannon-control/scu"
)

// What a trainer reads and stores through arbiters. Parts of a file go by the connection
// for what is long, many at a time.

// partTime is how long the answer to a part may take.
const partTime = stallTimeout

// PutAdapter stores a zip; see [scu.Adapters]. If the arbiter dies meanwhile the error is
// CodeUnavailable, and nothing is kept.
func (a *Agent) PutAdapter(ctx context.Context, key scu.AdapterKey, zip io.Reader) (size int64, sum string, err error) {
	stored, err := a.upload(ctx, askPut, question{Job: key.Job, Attempt: key.Attempt, Step: key.Step}, zip)
	return stored.Size, stored.SHA256, err
}

// upload sends what r gives to an arbiter, which stores it as the verb and the question say.
func (a *Agent) upload(ctx context.Context, verb string, q question, r io.Reader) (stored answer, err error) {
	begun, err := a.insist(ctx, verb, "", q)
	if err != nil {
		return stored, err
	}
	inbox := a.b.bulk.NewInbox()
	replies, err := a.b.bulk.SubscribeSync(inbox)
	if err != nil {
		return stored, fault(err, "send to an arbiter")
	}
	defer replies.Unsubscribe()
	open := 0
	settle := func(most int) (last answer, err error) {
		for open > most {
			within, cancel := context.WithTimeout(ctx, partTime)
			m, err := replies.NextMsgWithContext(within)
			cancel()
			switch {
			case ctx.Err() != nil:
				return last, context.Cause(ctx)
			case err != nil:
				return last, fault(err, "send to an arbiter")
			case m.Header.Get("Status") == noResponders:
				return last, errNobody
			}
			if last, err = told(m); err != nil {
				return last, err
			}
			open--
		}
		return last, nil
	}
	whole := scu.PutOptions{}.Take(ctx, r) // ends with ctx
	buffer := make([]byte, partSize)
	for part := 0; ; part++ {
		n, err := io.ReadFull(whole, buffer)
		end := err == io.EOF || err == io.ErrUnexpectedEOF
		if err != nil && !end {
			return stored, err
		}
		m := &nats.Msg{Subject: askSubject(a.login, askChunk, begun.Arbiter), Reply: inbox, Data: buffer[:n],
			Header: nats.Header{headerUpload: {begun.Upload}, headerPart: {strconv.Itoa(part)}}}
		if end {
			m.Header.Set(headerEnd, "1")
		}
		if err := a.b.bulk.PublishMsg(m); err != nil {
			return stored, fault(err, "send to an arbiter")
		}
		open++
		if end {
			return settle(0)
		}
		if _, err := settle(partsInFlight - 1); err != nil {
			return stored, err
		}
	}
}

// noResponders is the status with which the server answers for nobody.
const noResponders = "503"

// DeleteAdapter removes a zip; see [scu.Adapters].
func (a *Agent) DeleteAdapter(ctx context.Context, key scu.AdapterKey) error {
	_, err := a.insist(ctx, askDrop, "", question{Job: key.Job, Attempt: key.Attempt, Step: key.Step})
	return err
}

// agentFiles is [scu.Blobs] of which the files that the trainer's job reads can be got, and
// nothing else be done.
type agentFiles struct {
	scu.Blobs // nil: whoever asks for more is mistaken
	a         *Agent
}

// Objects are the files that the trainer's job reads.
func (a *Agent) Objects() scu.Blobs { return agentFiles{a: a} }

// Get implements scu.Blobs.
func (f agentFiles) Get(ctx context.Context, key scu.BlobKey, from, length int64) (io.ReadCloser, scu.Blob, error) {
	if key.Kind != scu.FileBlob || from != 0 || length >= 0 {
		return nil, scu.Blob{}, scu.Errorf(scu.CodeForbidden, "a trainer reads its job's files, whole")
	}
	job, attempt := f.a.running()
	ctx, cancel := context.WithCancel(ctx)
	r := &partReader{ctx: ctx, cancel: cancel, a: f.a, q: question{Trainer: f.a.trainer, Job: job, Attempt: attempt, File: key.Name}}
	size, err := r.begin()
	if err != nil {
		cancel()
		return nil, scu.Blob{}, err
	}
	b := scu.Blob{Key: key, Size: size, SHA256: key.Name}
	return b.Verified(r), b, nil
}

// partReader reads a file from arbiters, some parts ahead.
type partReader struct {
	ctx    context.Context
	cancel context.CancelFunc
	a      *Agent
	q      question
	size   int64
	asked  int64              // up to here
	ahead  []chan fetchedPart // in order
	rest   []byte
}

type fetchedPart struct {
	data []byte
	err  error
}

// begin reads the first part, and with it the file's size.
func (r *partReader) begin() (size int64, err error) {
	data, size, err := r.fetch(0)
	r.rest, r.size, r.asked = data, size, int64(len(data))
	return size, err
}

func (r *partReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		for r.asked < r.size && len(r.ahead) < partsInFlight {
			c, offset := make(chan fetchedPart, 1), r.asked
			go func() {
				data, _, err := r.fetch(offset)
				c <- fetchedPart{data, err}
			}()
			r.ahead = append(r.ahead, c)
			r.asked += min(partSize, r.size-offset)
		}
		if len(r.ahead) == 0 {
			return 0, io.EOF
		}
		part := <-r.ahead[0]
		r.ahead = r.ahead[1:]
		if part.err != nil {
			return 0, part.err
		}
		r.rest = part.data
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close ends the reading.
func (r *partReader) Close() error {
	r.cancel()
	return nil
}

// fetch asks for a part until it comes. It gives up once nothing has come for as long as
// a part may take.
func (r *partReader) fetch(offset int64) (data []byte, size int64, err error) {
	q := r.q
	q.Offset = offset
	body, err := json.Marshal(q)
	if err != nil {
		return nil, 0, scu.Errorf(scu.CodeInternal, "fetch a file: %w", err)
	}
	a := r.a
	for alive := time.Now(); ; a.pause(r.ctx) {
		m, err := a.send(r.ctx, a.b.bulk, partTime, &nats.Msg{Subject: askSubject(a.login, askFile, ""), Data: body})
		if err == nil {
			if of := m.Header.Get(headerSize); of != "" {
				size, err := strconv.ParseInt(of, 10, 64)
				if err != nil || len(m.Data) == 0 && offset < size {
					return nil, 0, scu.Errorf(scu.CodeInternal, "an arbiter's answer: size %.20q", of)
				}
				return m.Data, size, nil
			}
			var out answer
			if out, err = told(m); out.Working {
				alive = time.Now()
				continue
			}
		}
		if scu.CodeOf(err) != scu.CodeUnavailable || r.ctx.Err() != nil || time.Since(alive) > partTime {
			return nil, 0, err
		}
	}
}
