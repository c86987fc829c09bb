package broker

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
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

// buckets are the object stores that keep blobs.
var buckets = map[scu.BlobKind]string{
	scu.FileBlob:       filesBucket,
	scu.AdapterBlob:    adaptersBucket,
	scu.CheckpointBlob: checkpointsBucket,
}

// objects is [scu.Blobs] over NATS's object store.
type objects struct{ b *Broker }

// Objects are blobs that NATS keeps.
func (b *Broker) Objects() scu.Blobs { return objects{b} }

// Blobs are where adapters are kept: NATS, or what the options say.
func (b *Broker) Blobs() scu.Blobs {
	if b.opts.Blobs != nil {
		return b.opts.Blobs
	}
	return b.Objects()
}

func (o objects) open(ctx context.Context, key scu.BlobKey) (store jetstream.ObjectStore, err error) {
	if err := key.Check(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return o.bucket(ctx, key.Kind)
}

func (o objects) bucket(ctx context.Context, kind scu.BlobKind) (store jetstream.ObjectStore, err error) {
	err = o.b.try(ctx, func(ctx context.Context) error {
		store, err = o.b.objs.ObjectStore(ctx, buckets[kind])
		return o.b.missing(objectStreamPre+buckets[kind], err)
	})
	return store, fault(err, "storage of %s", kind)
}

// Put implements scu.Blobs. The client removes what it stored of a failed one as long as
// its own context lives, so the caller's ends the reading instead.
func (o objects) Put(ctx context.Context, key scu.BlobKey, r io.Reader, put scu.PutOptions) (scu.Blob, error) {
	store, err := o.open(ctx, key)
	if err != nil {
		return scu.Blob{}, err
	}
	info, err := store.Put(context.WithoutCancel(ctx), jetstream.ObjectMeta{
		Name: key.Name, Description: put.Title, Opts: &jetstream.ObjectMetaOptions{ChunkSize: chunkSize},
	}, put.Take(ctx, r))
	if err != nil {
		return scu.Blob{}, fault(err, "store %s", key)
	}
	// The client sends a chunk again that nobody took for a moment, as while a stream elects
	// its leader, after those that came later. What has another's place by now was stored.
	if _, err := scu.VerifyBlob(ctx, o, key); err != nil && !o.replaced(context.WithoutCancel(ctx), store, key, info) {
		if scu.CodeOf(err) == scu.CodeDamaged {
			err = scu.Errorf(scu.CodeUnavailable, "store %s: its parts came in another order: %w", key, err).WithHint("try again")
		}
		return scu.Blob{}, errors.Join(err, o.remove(context.WithoutCancel(ctx), key, info))
	}
	return described(key.Kind, info), nil
}

// remove removes an object, and none that took its place. Its mark stays until it is swept. NATS
// up to 2.15 at least, killed, can bring back what was purged last of a block of its file: the mark
// keeps a block from being emptied by that, and hides an object that comes back.
func (o objects) remove(ctx context.Context, key scu.BlobKey, info *jetstream.ObjectInfo) error {
	s, err := o.b.stream(ctx, objectStreamPre+buckets[key.Kind])
	if err != nil {
		return err
	}
	subject := metaSubject(key.Kind, key.Name)
	for range rounds(ctx) { // its title may have changed meanwhile
		if err = o.mark(ctx, s, subject, info.NUID); !outrun(err) {
			break
		}
	}
	if err != nil {
		return fault(err, "delete %s", key)
	}
	err = o.b.try(ctx, func(ctx context.Context) error {
		return s.Purge(ctx, jetstream.WithPurgeSubject(chunkSubject(key.Kind, info.NUID)))
	})
	return fault(err, "delete %s", key)
}

// mark marks an object as deleted, unless there is none, or another under its subject.
func (o objects) mark(ctx context.Context, s jetstream.Stream, subject, nuid string) error {
	err := o.b.try(ctx, func(ctx context.Context) error {
		last, err := s.GetLastMsgForSubject(ctx, subject)
		if err != nil {
			return err
		}
		var now jetstream.ObjectInfo
		if err := json.Unmarshal(last.Data, &now); err != nil || now.NUID != nuid || now.Deleted {
			return err
		}
		// As the client says it, but as an answer to what was read.
		now.Deleted, now.Size, now.Chunks, now.Digest = true, 0, 0, ""
		data, err := json.Marshal(now)
		if err != nil {
			return err
		}
		m := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}}
		_, err = o.b.objs.PublishMsg(ctx, m, jetstream.WithExpectLastSequencePerSubject(last.Sequence))
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil
	}
	return err
}

// metaSubject is where an object store has what an object is, or the mark of its deletion; of all
// objects the subjects begin as that of the name "".
func metaSubject(kind scu.BlobKind, name string) string {
	return "$O." + buckets[kind] + ".M." + base64.URLEncoding.EncodeToString([]byte(name))
}

// chunkSubject is where it has the bytes of an object.
func chunkSubject(kind scu.BlobKind, nuid string) string { return "$O." + buckets[kind] + ".C." + nuid }

// described is a stored object as a blob.
func described(kind scu.BlobKind, info *jetstream.ObjectInfo) scu.Blob {
	b := scu.Blob{Key: scu.BlobKey{Kind: kind, Name: info.Name}, Title: info.Description, Size: int64(info.Size), StoredAt: info.ModTime.UTC()}
	if sum, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(info.Digest, "SHA-256=")); err == nil {
		b.SHA256 = hex.EncodeToString(sum)
	}
	return b
}

// Get implements scu.Blobs. The store gives whole objects only: what comes before the
// offset is read and passed over.
func (o objects) Get(ctx context.Context, key scu.BlobKey, from, length int64) (io.ReadCloser, scu.Blob, error) {
	store, err := o.open(ctx, key)
	if err != nil {
		return nil, scu.Blob{}, err
	}
	info, err := o.info(ctx, store, key)
	if err != nil {
		return nil, scu.Blob{}, err
	}
	b := described(key.Kind, info)
	if err := o.whole(ctx, store, key, info); err != nil {
		return nil, b, err
	}
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	stall := time.AfterFunc(o.b.opts.timeout, cancel) // opening is one request
	waking := &wakingContext{Context: ctx}
	stored, err := store.Get(waking, key.Name)
	waking.often.Store(true)
	if !stall.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err == nil {
		info, err = stored.Info() // of another, if it took the place just now
	}
	if err != nil {
		cancel()
		return nil, b, fault(err, "read %s", key)
	}
	b = described(key.Kind, info)
	r := b.Verified(object{stored, ctx, cancel, stall, func() bool { return o.replaced(ctx, store, key, info) }, key})
	if from > 0 {
		if _, err := io.CopyN(io.Discard, r, from); err != nil && err != io.EOF {
			r.Close()
			return nil, b, err
		}
	}
	if length >= 0 && from+length < b.Size {
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(r, length), r}, b, nil
	}
	return r, b, nil
}

// whole refuses an object that lost chunks: reading it would wait for them.
func (o objects) whole(ctx context.Context, store jetstream.ObjectStore, key scu.BlobKey, info *jetstream.ObjectInfo) error {
	var there uint64
	chunks := chunkSubject(key.Kind, info.NUID)
	err := o.b.try(ctx, func(ctx context.Context) error {
		s, err := o.b.stream(ctx, objectStreamPre+buckets[key.Kind])
		if err != nil {
			return err
		}
		state, err := s.Info(ctx, jetstream.WithSubjectFilter(chunks))
		if err == nil {
			there = state.State.Subjects[chunks]
		}
		return err
	})
	if err == nil && there < uint64(info.Chunks) {
		if o.replaced(ctx, store, key, info) {
			return errReplaced(key)
		}
		return key.Damaged("of its %d parts %d are there", info.Chunks, there)
	}
	return fault(err, "read %s", key)
}

// replaced reports whether the key has another object by now, or none: the chunks of this one
// are gone then.
func (o objects) replaced(ctx context.Context, store jetstream.ObjectStore, key scu.BlobKey, info *jetstream.ObjectInfo) bool {
	now, err := o.info(ctx, store, key)
	return scu.CodeOf(err) == scu.CodeNotFound || err == nil && now.NUID != info.NUID
}

func errReplaced(key scu.BlobKey) error {
	return scu.Errorf(scu.CodeUnavailable, "%s was stored anew, or deleted, while it was read", key).WithHint("try again")
}

// object is a stored object being read.
type object struct {
	jetstream.ObjectResult
	ctx      context.Context
	cancel   context.CancelFunc
	stall    *time.Timer // cancels when nothing comes for stallTimeout
	replaced func() bool
	key      scu.BlobKey
}

// wakingContext has, once often is set, a deadline that is always a moment away: NATS's client
// looks for a cancel of a reading only before it waits for bytes, and waits until the deadline.
type wakingContext struct {
	context.Context
	often atomic.Bool
}

// wakeTime bounds how long a reading outlasts its context, or its object.
const wakeTime = time.Second

func (c *wakingContext) Deadline() (time.Time, bool) {
	if c.often.Load() {
		return time.Now().Add(wakeTime), true
	}
	return c.Context.Deadline()
}

// Read fails if the server gives nothing for stallTimeout.
func (o object) Read(p []byte) (n int, err error) {
	o.stall.Reset(stallTimeout)
	defer o.stall.Stop()
	n, err = o.ObjectResult.Read(p)
	for n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		if o.replaced() {
			return 0, errReplaced(o.key)
		}
		n, err = o.ObjectResult.Read(p)
	}
	switch {
	case err != nil && err != io.EOF && o.ctx.Err() != nil: // what then is missing isn't lost
		err = o.ctx.Err()
	case errors.Is(err, jetstream.ErrDigestMismatch):
		if o.replaced() {
			return n, errReplaced(o.key)
		}
		return n, o.key.Damaged("%w", err)
	case err == nil || err == io.EOF:
		return n, err
	}
	return n, fault(err, "read %s", o.key)
}

func (o object) Close() error {
	defer o.cancel()
	defer o.stall.Stop()
	return o.ObjectResult.Close()
}

func (o objects) info(ctx context.Context, store jetstream.ObjectStore, key scu.BlobKey, opts ...jetstream.GetObjectInfoOpt) (info *jetstream.ObjectInfo, err error) {
	err = o.b.try(ctx, func(ctx context.Context) error {
		info, err = store.GetInfo(ctx, key.Name, opts...)
		return err
	})
	if errors.Is(err, jetstream.ErrObjectNotFound) {
		return nil, key.NotFound()
	}
	return info, fault(err, "find %s", key)
}

// Stat implements scu.Blobs.
func (o objects) Stat(ctx context.Context, key scu.BlobKey) (scu.Blob, error) {
	store, err := o.open(ctx, key)
	if err != nil {
		return scu.Blob{}, err
	}
	info, err := o.info(ctx, store, key)
	if err != nil {
		return scu.Blob{}, err
	}
	return described(key.Kind, info), nil
}

// Retitle implements scu.Blobs.
func (o objects) Retitle(ctx context.Context, key scu.BlobKey, title string) (scu.Blob, error) {
	store, err := o.open(ctx, key)
	if err != nil {
		return scu.Blob{}, err
	}
	err = o.b.try(ctx, func(ctx context.Context) error {
		return store.UpdateMeta(ctx, key.Name, jetstream.ObjectMeta{Name: key.Name, Description: title})
	})
	if errors.Is(err, jetstream.ErrUpdateMetaDeleted) {
		return scu.Blob{}, key.NotFound()
	}
	if err != nil {
		return scu.Blob{}, fault(err, "store %s", key)
	}
	return o.Stat(ctx, key)
}

// List implements scu.Blobs.
func (o objects) List(ctx context.Context, kind scu.BlobKind, prefix, after string, limit int) (page []scu.Blob, more bool, err error) {
	store, err := o.bucket(ctx, kind)
	if err != nil {
		return nil, false, err
	}
	var all []*jetstream.ObjectInfo
	err = o.b.within(ctx, listTimeout, func(ctx context.Context) error {
		all, err = store.List(ctx)
		return err
	})
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return nil, false, fault(err, "list the %s", kind)
	}
	slices.SortFunc(all, func(a, b *jetstream.ObjectInfo) int { return strings.Compare(a.Name, b.Name) })
	for _, info := range all {
		if info.Name <= after || !strings.HasPrefix(info.Name, prefix) {
			continue
		}
		if len(page) == limit {
			return page, true, nil
		}
		page = append(page, described(kind, info))
	}
	return page, false, nil
}

// names lists the names of a kind, those of blobs that were deleted too.
func (o objects) names(ctx context.Context, kind scu.BlobKind) (names []string, err error) {
	infos := metaSubject(kind, "")
	err = o.b.within(ctx, listTimeout, func(ctx context.Context) error {
		s, err := o.b.stream(ctx, objectStreamPre+buckets[kind])
		if err != nil {
			return err
		}
		info, err := s.Info(ctx, jetstream.WithSubjectFilter(infos+">"))
		if err != nil {
			return err
		}
		for subject := range info.State.Subjects {
			if name, err := base64.URLEncoding.DecodeString(strings.TrimPrefix(subject, infos)); err == nil {
				names = append(names, string(name))
			}
		}
		return nil
	})
	return names, fault(err, "list the %s", kind)
}

// Delete implements scu.Blobs. It ends a deletion that was begun and whose answer was lost.
func (o objects) Delete(ctx context.Context, key scu.BlobKey) error {
	store, err := o.open(ctx, key)
	if err != nil {
		return err
	}
	info, err := o.info(ctx, store, key, jetstream.GetObjectInfoShowDeleted())
	if err != nil {
		return err
	}
	if err := o.remove(ctx, key, info); err != nil {
		return err
	}
	if info.Deleted {
		return key.NotFound()
	}
	return nil
}

// Sweep implements scu.Blobs: it removes the chunks of unfinished objects whose last chunk is
// older than a time, the remains of a process that was killed in the middle of a put, and marks
// of deletions from before it, which NATS keeps for ever.
func (o objects) Sweep(ctx context.Context, before time.Time) (err error) {
	for _, kind := range scu.BlobKinds {
		err = errors.Join(err, o.sweep(ctx, kind, before))
	}
	return err
}

func (o objects) sweep(ctx context.Context, kind scu.BlobKind, before time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute) // many objects are a long list
	defer cancel()
	s, err := o.b.stream(ctx, objectStreamPre+buckets[kind])
	if err != nil {
		return err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter("$O."+buckets[kind]+".>")) // first: what is finished meanwhile is in the list
	if err != nil {
		return fault(err, "sweep the %s", kind)
	}
	store, err := o.bucket(ctx, kind)
	if err != nil {
		return err
	}
	objects, err := store.List(ctx)
	if err != nil && !errors.Is(err, jetstream.ErrNoObjectsFound) {
		return fault(err, "sweep the %s", kind)
	}
	for _, o := range objects {
		delete(info.State.Subjects, chunkSubject(kind, o.NUID))
		delete(info.State.Subjects, metaSubject(kind, o.Name))
	}
	for subject := range info.State.Subjects {
		last, err := s.GetLastMsgForSubject(ctx, subject)
		switch {
		case err != nil || !last.Time.Before(before):
		case !strings.HasPrefix(subject, metaSubject(kind, "")):
			err = s.Purge(ctx, jetstream.WithPurgeSubject(subject))
		case isMark(last.Data):
			// Up to the mark: what is stored in its place from now on stays.
			err = s.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(last.Sequence+1))
		}
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return fault(err, "sweep the %s", kind)
		}
	}
	return nil
}

// isMark reports whether an object store's entry of an object marks its deletion.
func isMark(entry []byte) bool {
	var info jetstream.ObjectInfo
	return json.Unmarshal(entry, &info) == nil && info.Deleted
}
