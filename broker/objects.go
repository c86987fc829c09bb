package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

const (
	// stallTimeout is how long a chunk may take to be stored.
	stallTimeout = 30 * time.Second
	// transferTimeout bounds one reading. It must be set: without a deadline the
	// client ends a transfer after its default timeout, however far it is.
	transferTimeout = 24 * time.Hour
)

// chunkSize keeps what a transfer has under way (4,000 chunks) within the 128 MiB
// that a stream takes in by default.
const chunkSize = 32 << 10

// putObject stores r under name. A failed one leaves nothing behind: the client
// removes its chunks as long as its own context lives, so the caller's ends the
// reading instead.
func putObject(ctx context.Context, store jetstream.ObjectStore, name, title string, r io.Reader) (*jetstream.ObjectInfo, error) {
	return store.Put(context.WithoutCancel(ctx), jetstream.ObjectMeta{
		Name: name, Description: title, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkSize},
	}, fullReader{ctx, r})
}

// fullReader fills each buffer, so that chunks are full however small the pieces
// of a network's reader are, and ends with its context.
type fullReader struct {
	ctx context.Context
	r   io.Reader
}

func (f fullReader) Read(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		if f.ctx.Err() != nil {
			return n, context.Cause(f.ctx)
		}
		var m int
		m, err = f.r.Read(p[n:])
		n += m
	}
	return n, err
}

// object is a stored object being read. Its last Read fails if the bytes are not those
// that were stored.
type object struct {
	jetstream.ObjectResult
	cancel context.CancelFunc
	stall  *time.Timer // cancels when nothing comes for stallTimeout
}

// Read fails if the server gives nothing for stallTimeout.
func (o object) Read(p []byte) (int, error) {
	o.stall.Reset(stallTimeout)
	n, err := o.ObjectResult.Read(p)
	o.stall.Stop()
	return n, err
}

func (o object) Close() error {
	defer o.cancel()
	defer o.stall.Stop()
	return o.ObjectResult.Close()
}

func (b *Broker) getObject(ctx context.Context, store jetstream.ObjectStore, name string) (*object, *jetstream.ObjectInfo, error) {
	short, done := b.bound(ctx)
	defer done()
	info, err := store.GetInfo(short, name)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	stall := time.AfterFunc(b.opts.timeout, cancel) // opening is one request
	r, err := store.Get(ctx, name)
	if !stall.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return &object{r, cancel, stall}, info, nil
}

// sweepObjects removes the chunks of unfinished objects whose last chunk is older than a
// time: the remains of a process that was killed in the middle of a put.
func (b *Broker) sweepObjects(ctx context.Context, bucket string, before time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // many objects are a long list
	defer cancel()
	s, err := b.stream(ctx, objectStreamPre+bucket)
	if err != nil {
		return err
	}
	chunks := "$O." + bucket + ".C."
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(chunks+">")) // first: what is finished meanwhile is in the list
	if err != nil {
		return fault(err, "sweep %s", bucket)
	}
	store, err := b.objs.ObjectStore(ctx, bucket)
	if err != nil {
		return fault(err, "sweep %s", bucket)
	}
	objects, err := store.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return fault(err, "sweep %s", bucket)
	}
	for _, o := range objects {
		delete(info.State.Subjects, chunks+o.NUID)
	}
	for subject := range info.State.Subjects {
		last, err := s.GetLastMsgForSubject(ctx, subject)
		if err == nil && last.Time.Before(before) {
			err = s.Purge(ctx, jetstream.WithPurgeSubject(subject))
		}
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fault(err, "sweep %s", bucket)
		}
	}
	return nil
}

// fileFault is fault for what may have come from a local file.
func fileFault(err error, format string, args ...any) error {
	var local *fs.PathError
	var link *os.LinkError
	switch {
	case errors.Is(err, syscall.ENOSPC): // err names a path, which is nobody's business
		return &scu.Error{Code: scu.CodeStorage, Message: fmt.Sprintf(format, args...) + ": no space left on the server's disk",
			Hint: "free disk space there, and try again", Retry: true, Err: err}
	case errors.As(err, &local), errors.As(err, &link):
		return scu.Errorf(scu.CodeInternal, format+": %w", append(args, err)...)
	}
	return fault(err, format, args...)
}
