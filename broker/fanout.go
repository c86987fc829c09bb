package broker

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// fanout reads of a stream, from now on, the entries of the jobs that somebody follows, once for
// all who do. It reads while somebody follows.
type fanout[E any] struct {
	b      *Broker
	stream string
	end    func(scu.Position) uint64 // of the stream
	parse  func(seq uint64, data []byte) (E, error)
	turn   chan struct{} // of capacity 1: taken by who begins to read

	mu      sync.Mutex
	reading *fanoutReading[E] // nil: nobody follows
}

func newFanout[E any](b *Broker, stream string, end func(scu.Position) uint64, parse func(uint64, []byte) (E, error)) *fanout[E] {
	return &fanout[E]{b: b, stream: stream, end: end, parse: parse, turn: make(chan struct{}, 1)}
}

// fanoutReading is one reading of the stream: by one consumer of the followed jobs' entries, which
// is told anew when others are followed.
type fanoutReading[E any] struct {
	log     string // that the stream belongs to; see [scu.Position]
	stop    context.CancelFunc
	over    <-chan struct{} // it has ended
	jobs    map[string]*followedJob[E]
	changed chan struct{} // of capacity 1: jobs came or went
}

// followedJob is one that somebody follows, from the first who does to the last.
type followedJob[E any] struct {
	filter    string
	followers map[*follower[E]]struct{}
	told      bool
	read      chan struct{} // closed once the consumer is told of the job: what the stream gets then will come
}

// mostFilters is how many jobs may be followed before a consumer delivers the entries of all jobs: the
// server compares each subject that it is told with each other.
const mostFilters = 100

// followerRoom is how many entries a follower may be behind before it has to read them itself.
const followerRoom = 256

// follower is one who follows a job.
type follower[E any] struct {
	job, filter string
	log         string // whose entries it gets; "" before it joins a reading
	after       uint64 // the sequence of the last entry that it got
	out         chan E

	// What it has of the reading that it joined last: the entries that came since, in a channel
	// that is closed when it gets no more of them. behind, set before, tells that it was too slow,
	// and not that the stream was replaced.
	entries chan *fanned[E]
	behind  bool
}

// fanned is an entry that all followers share.
type fanned[E any] struct {
	seq   uint64
	entry E
}

// follow gives a job's entries after a sequence, whose subjects match filter: those that the
// stream has, then those that come, in order and each once. The channel closes when ctx ends, or
// the stream is replaced by another.
func (f *fanout[E]) follow(ctx context.Context, job, filter string, after uint64) (<-chan E, error) {
	if _, err := f.b.stream(ctx, f.stream); err != nil {
		return nil, err
	}
	w := &follower[E]{job: job, filter: filter, after: after, out: make(chan E)}
	go func() {
		defer close(w.out)
		for again := true; again && ctx.Err() == nil; {
			reconnected := f.b.nextReconnect()
			var err error
			if again, err = f.once(ctx, w); err == nil || ctx.Err() != nil {
				continue
			}
			f.b.log.Warn("following a job, starting over", "job", job, "stream", f.stream, "after", w.after, "error", err)
			awaitRetry(ctx, reconnected)
		}
	}()
	return w.out, nil
}

// once sends a follower what there is and what comes. again reports whether there may be more: it
// failed, or the follower was too slow.
func (f *fanout[E]) once(ctx context.Context, w *follower[E]) (again bool, err error) {
	r, job, err := f.join(ctx, w)
	if err != nil {
		return true, err
	}
	defer f.remove(r, w)
	select {
	case <-job.read:
	case <-r.over: // the stream was replaced
		return false, nil
	case <-ctx.Done():
		return false, nil
	}
	if w.log != "" && w.log != r.log { // its sequences say nothing of this one
		return false, nil
	}
	w.log = r.log
	if err := f.past(ctx, w); err != nil {
		return true, err
	}
	for {
		select {
		case e, ok := <-w.entries:
			if !ok {
				return w.behind, nil
			}
			if e.seq <= w.after {
				continue
			}
			if err := w.send(ctx, e.seq, e.entry); err != nil {
				return false, err
			}
		case <-ctx.Done():
			return false, nil
		}
	}
}

// send sends a follower an entry.
func (w *follower[E]) send(ctx context.Context, seq uint64, e E) error {
	select {
	case w.out <- e:
		w.after = seq
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// past sends what the stream has that the follower has not. Who deletes the job meanwhile takes it
// along.
func (f *fanout[E]) past(ctx context.Context, w *follower[E]) error {
	last, err := f.last(ctx, w.filter)
	for err == nil && w.after < last {
		before := w.after
		err = f.b.present(ctx, f.stream, w.filter, before+1, false, func(seq uint64, m jetstream.Msg) error {
			return w.send(ctx, seq, f.parsed(seq, m.Data()))
		})
		if err == nil && w.after == before { // deleted, or a copy of the stream is behind
			_ = scu.Sleep(ctx, lookForStream) // what is asked next tells that ctx ended
			last, err = f.last(ctx, w.filter)
		}
	}
	return err
}

// last is the sequence of the last entry whose subject matches; 0 if there is none.
func (f *fanout[E]) last(ctx context.Context, filter string) (uint64, error) {
	m, err := f.b.last(ctx, f.stream, filter)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}

// parsed is what can be read of an entry; that not all can is logged.
func (f *fanout[E]) parsed(seq uint64, data []byte) E {
	e, err := f.parse(seq, data)
	if err != nil {
		f.b.log.Error("unreadable entry", "stream", f.stream, "sequence", seq, "error", err)
	}
	return e
}

// join lets somebody follow a job, until they are removed from the reading that it returns. Every
// entry that the stream does not have yet once the job's read is closed will come.
func (f *fanout[E]) join(ctx context.Context, w *follower[E]) (*fanoutReading[E], *followedJob[E], error) {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	w.entries, w.behind = make(chan *fanned[E], followerRoom), false
	if r, job := f.add(nil, w); r != nil {
		return r, job, nil
	}
	end, err := f.b.End(ctx)
	if err != nil {
		return nil, nil, err
	}
	reading, stop := context.WithCancel(context.WithoutCancel(ctx))
	r, job := f.add(&fanoutReading[E]{log: end.Log, stop: stop, over: reading.Done(), jobs: map[string]*followedJob[E]{}, changed: make(chan struct{}, 1)}, w)
	go f.read(reading, r, f.end(end))
	return r, job, nil
}

// add adds a follower to the reading that there is, else to one that begins; nil if that is nil.
func (f *fanout[E]) add(begins *fanoutReading[E], w *follower[E]) (*fanoutReading[E], *followedJob[E]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reading == nil {
		f.reading = begins
	}
	r := f.reading
	if r == nil {
		return nil, nil
	}
	job := r.jobs[w.job]
	if job == nil {
		job = &followedJob[E]{filter: w.filter, followers: map[*follower[E]]struct{}{}, read: make(chan struct{})}
		r.jobs[w.job] = job
		r.change()
	}
	job.followers[w] = struct{}{}
	return r, job
}

// change tells that jobs came or went.
func (r *fanoutReading[E]) change() {
	select {
	case r.changed <- struct{}{}:
	default: // the consumer is told of all of them at once
	}
}

// remove takes a follower off; with the last one the reading ends.
func (f *fanout[E]) remove(r *fanoutReading[E], w *follower[E]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.drop(w)
	if len(r.jobs) == 0 {
		r.stop()
		if f.reading == r {
			f.reading = nil
		}
	}
}

// drop forgets a follower. The mutex of the fanout is held.
func (r *fanoutReading[E]) drop(w *follower[E]) {
	job := r.jobs[w.job]
	if job == nil {
		return
	}
	delete(job.followers, w)
	if len(job.followers) == 0 {
		delete(r.jobs, w.job)
		r.change()
	}
}

// read hands out the entries after a sequence, until nobody follows or the stream is replaced.
func (f *fanout[E]) read(ctx context.Context, r *fanoutReading[E], after uint64) {
	same := func(ctx context.Context, at uint64) error { return f.b.reaches(ctx, f.stream, at, r.log) }
	err := f.b.followBy(ctx, f.stream, f.opener(r), after, same, func(seq uint64, subject string, data []byte) error {
		f.hand(r, seq, jobOf(subject), data)
		return nil
	})
	if ctx.Err() == nil {
		f.b.log.Warn("who follows jobs has to begin anew", "stream", f.stream, "error", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r.stop()
	for _, job := range r.jobs {
		for w := range job.followers {
			close(w.entries)
			r.drop(w)
		}
	}
	if f.reading == r {
		f.reading = nil
	}
}

// opener makes the consumer of a reading, and tells it of the jobs that come and go. If that fails
// the reading is begun anew, since nobody knows then what the consumer was told last.
func (f *fanout[E]) opener(r *fanoutReading[E]) opener {
	var telling sync.WaitGroup // the consumer before
	return func(ctx context.Context, from uint64, broken context.CancelCauseFunc) (jetstream.Consumer, error) {
		telling.Wait()
		config := readerConfig("", from)
		jobs, filters := f.followed(r)
		config.FilterSubjects = filters
		c, err := f.b.reader(ctx, f.stream, config)
		if err != nil {
			return nil, err
		}
		f.told(jobs)
		config.Name = c.CachedInfo().Name
		telling.Go(func() {
			if err := f.keepTold(ctx, r, config); err != nil {
				broken(err)
			}
		})
		return c, nil
	}
}

// keepTold tells a consumer which jobs are followed each time that others are, until ctx ends.
func (f *fanout[E]) keepTold(ctx context.Context, r *fanoutReading[E], config jetstream.ConsumerConfig) error {
	for {
		select {
		case <-r.changed:
		case <-ctx.Done():
			return nil
		}
		jobs, filters := f.followed(r)
		if len(jobs) > 0 && !slices.Equal(filters, config.FilterSubjects) {
			config.FilterSubjects = filters
			if err := f.tell(ctx, config); err != nil {
				return err
			}
		}
		f.told(jobs)
	}
}

// followed is the jobs that somebody follows now, and the subjects to read for them.
func (f *fanout[E]) followed(r *fanoutReading[E]) (jobs []*followedJob[E], filters []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, job := range r.jobs {
		jobs, filters = append(jobs, job), append(filters, job.filter)
	}
	if len(jobs) == 0 || len(jobs) > mostFilters { // none: whoever was too slow comes back, or the reading ends
		return jobs, []string{">"}
	}
	slices.Sort(filters)
	return jobs, filters
}

// tell tells a consumer what it is to deliver from where it is.
func (f *fanout[E]) tell(ctx context.Context, config jetstream.ConsumerConfig) error {
	ctx, cancel := f.b.bound(ctx)
	defer cancel()
	_, err := f.b.js.UpdateConsumer(ctx, f.stream, config)
	return err
}

// told says that the consumer delivers what comes of these jobs. One that was followed no longer and
// is again since isn't among them: it may have been left out meanwhile.
func (f *fanout[E]) told(jobs []*followedJob[E]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, job := range jobs {
		if !job.told {
			job.told = true
			close(job.read)
		}
	}
}

// hand gives an entry to the followers of its job. Who has no room for it gets no more.
func (f *fanout[E]) hand(r *fanoutReading[E], seq uint64, job string, data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	followed := r.jobs[job]
	if followed == nil || !followed.told { // who still waits reads what the stream has by then
		return
	}
	entry := &fanned[E]{seq, f.parsed(seq, data)}
	for w := range followed.followers {
		select {
		case w.entries <- entry:
		default:
			w.behind = true
			close(w.entries)
			r.drop(w)
		}
	}
}
