package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker/embedded"
)

// walk is what a job goes through until its end, a word at a time.
type walk struct {
	id    string
	words []word
}

// word takes a job on. What goes beyond what a job was taken in with may be refused in a full log.
type word struct {
	beyond bool
	say    func(context.Context) error
}

// A log is filled to its brim with jobs of all sizes. Each of them then says whatever it may, in
// any order, or so that none ends, and gives back what is kept for it, until all have said the rest:
// nothing is refused that a job was taken in with, its end never, and all come to their ends
// within the limit.
func TestJobsOfAFullLogComeToTheirEnds(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		endsLast := seed%2 == 1
		apart := seed >= 4
		t.Run(fmt.Sprintf("seed %d, ends last %v, apart %v", seed, endsLast, apart), func(t *testing.T) {
			t.Parallel()
			const limit = 1 << 20
			ctx, random := testContext(t), rand.New(rand.NewPCG(seed, 0))
			server := startWithArbiter(t)
			b := connect(t, Options{Server: server, LogBytes: limit})
			if err := b.Setup(ctx); err != nil {
				t.Fatal(err)
			}
			by := b // who writes trainers' words
			if apart {
				by = connect(t, Options{Server: server, User: ArbiterUser})
				a, err := NewArbiter(by, nil)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(a.Close)
				for !by.open.areKnown() {
					if err := scu.Sleep(ctx, time.Millisecond); err != nil {
						t.Fatal("the arbiter doesn't know the open jobs: ", err)
					}
				}
			}
			var walks []*walk
			for {
				e := sizedJob(random)
				if _, err := b.Submit(ctx, e); err != nil {
					wantCode(t, err, scu.CodeStorage)
					break
				}
				walks = append(walks, walkOf(b, by, random, e))
			}
			if len(walks) < 10 {
				t.Fatalf("the log has room for %d jobs", len(walks))
			}
			said, refused := 0, 0
			for open := slices.Clone(walks); len(open) > 0; {
				i := random.IntN(len(open))
				if endsLast {
					i = longest(open)
				}
				w := open[i]
				switch err := w.words[0].say(ctx); {
				case err == nil:
					said++
					w.words = w.words[1:]
				case w.words[0].beyond && scu.CodeOf(err) == scu.CodeStorage:
					refused++
					w.words = w.words[len(w.words)-1:] // no further attempt; it is cancelled
				default:
					j, _, _ := b.Job(ctx, w.id)
					t.Fatalf("job %s, %s in %q with %d checkpoints kept, after %d words of all jobs and before its last %d: %v\n%+v", w.id, j.Status, j.Phase, len(j.Checkpoints), said, len(w.words), err, b.open.of(w.id))
				}
				if len(w.words) == 0 {
					open[i] = open[len(open)-1]
					open = open[:len(open)-1]
				}
			}
			for _, w := range walks {
				if j, _, err := b.Job(ctx, w.id); err != nil || !j.Status.Ended() {
					t.Errorf("job %s is %s: %v", w.id, j.Status, err)
				}
			}
			use, err := b.room.look(ctx, 0)
			if err != nil || use.Reserved != 0 || use.Bytes > limit {
				t.Errorf("after all ended: %+v, %v", use, err)
			}
			t.Logf("%d jobs, %d words said, %d refused; %d of %d bytes", len(walks), said, refused, use.Bytes, limit)
		})
	}
}

// startWithArbiter starts a server that has an arbiter's user too, with the rights of its login.
func startWithArbiter(t *testing.T) *embedded.Server {
	t.Helper()
	rights := func(user string) (publish, subscribe []string, ok bool) {
		if user == ArbiterUser {
			publish, subscribe = arbiterRights(nil)
			return publish, subscribe, true
		}
		return Rights(user)
	}
	s, err := embedded.Start(embedded.Config{Rights: rights, Dir: t.TempDir(), Log: silent})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// However many submit at once, no more is taken in than there is room for.
func TestManySubmitToAFullLog(t *testing.T) {
	t.Parallel()
	const limit = 1 << 20
	ctx := testContext(t)
	b := connect(t, Options{Server: startServer(t, t.TempDir(), ""), LogBytes: limit})
	if err := b.Setup(ctx); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for {
				if _, err := b.Submit(ctx, newJob(0)); err != nil {
					if scu.CodeOf(err) != scu.CodeStorage {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	all.Wait()
	use, err := b.room.look(ctx, 0)
	if err != nil || use.Bytes+use.Reserved > limit || use.Full() < 0.9 {
		t.Errorf("%+v, %v", use, err)
	}
}

// longest is the place of the walk that has most to say.
func longest(walks []*walk) (at int) {
	for i, w := range walks {
		if len(w.words) > len(walks[at].words) {
			at = i
		}
	}
	return at
}

// sizedJob is a job of some size, some to be queued later.
func sizedJob(random *rand.Rand) scu.Event {
	j := newJob(0).Job
	j.Metadata = map[string]string{"note": strings.Repeat("n", random.IntN(4000))}
	if random.IntN(5) == 0 {
		later := time.Now().Add(time.Hour)
		j.NotBefore = &later
	}
	return scu.Submission(j, time.Now())
}

// walkOf chooses what a job says.
func walkOf(b, by *Broker, random *rand.Rand, e scu.Event) *walk {
	w := &walk{id: e.Job.ID}
	attempt := 0
	add := func(beyond bool, who string, f func(scu.Job) (scu.Event, error)) {
		w.words = append(w.words, word{beyond, func(ctx context.Context) error {
			writer := by
			if who == scu.APIWriter {
				writer = b
			}
			j, _, err := writer.Append(ctx, w.id, who, f)
			attempt = j.Attempt
			return err
		}})
	}
	now := time.Now()
	trainer := func(beyond bool, say scu.Word) {
		add(beyond, "t1", func(j scu.Job) (scu.Event, error) {
			say.Attempt = attempt
			return j.Hear("t1", say, now)
		})
	}
	start := func(beyond bool) {
		add(beyond, "t1", func(j scu.Job) (scu.Event, error) { return j.Start("t1", now) })
		trainer(false, scu.Word{Type: scu.EventPhase, Phase: scu.PreparingData})
		trainer(false, scu.Word{Type: scu.EventPhase, Phase: scu.Training, Steps: 100, Warnings: []string{strings.Repeat("w", 300)}})
	}
	checkpoint := func(beyond bool, step int) {
		trainer(beyond, scu.Word{Type: scu.EventCheckpoint, Checkpoint: &scu.Checkpoint{Step: step, SHA256: strings.Repeat("a", 64), CreatedAt: now}})
	}
	complete := func() {
		trainer(false, scu.Word{Type: scu.EventPhase, Phase: scu.SavingAdapter})
		files := []scu.AdapterFile{{Name: "adapter_model.safetensors", SHA256: strings.Repeat("b", 64)}, {Name: "adapter_config.json", SHA256: strings.Repeat("c", 64)}}
		trainer(false, scu.Word{Type: scu.EventCompleted, Adapter: &scu.Adapter{BaseModel: "bookworm-2m", Files: files,
			Metrics: scu.Summary{Warnings: []string{strings.Repeat("m", 900), strings.Repeat("v", 900)}}}})
	}
	cancel := func() { add(false, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Cancel(now) }) }
	if e.Type == scu.EventScheduled && random.IntN(2) == 0 {
		add(false, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Resume(now) })
	} else if e.Type == scu.EventScheduled {
		cancel()
		return w
	}
	long := &scu.Error{Code: scu.CodeInternal, Message: strings.Repeat("e", 5000), Field: strings.Repeat("f", 5000), Hint: strings.Repeat("h", 5000)}
	switch random.IntN(5) {
	case 0: // the longest that is planned
		start(false)
		for step := range 5 - boolInt(e.Type == scu.EventScheduled) {
			checkpoint(false, step+1)
		}
		complete()
	case 1:
		start(false)
		trainer(false, scu.Word{Type: scu.EventFailed, Error: long})
	case 2: // paused and resumed, twice, then stopped
		for range 2 {
			add(false, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Pause(now) })
			add(false, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Resume(now) })
		}
		start(true)
		add(false, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Stop(now) })
		complete()
	case 3: // broken off and handed back, until the supervisor gives it up
		for range 5 {
			start(true)
			checkpoint(true, 1)
			trainer(false, scu.Word{Type: scu.EventHandedBack, Warnings: []string{"handed back"}})
		}
		add(false, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Fail(0, long, now) })
	case 4: // failed, retried if there is room, cancelled at last
		start(false)
		trainer(false, scu.Word{Type: scu.EventFailed, Error: long})
		add(true, scu.APIWriter, func(j scu.Job) (scu.Event, error) { return j.Retry(false, now) })
		w.words = append(w.words, word{false, func(ctx context.Context) error {
			_, _, err := b.Cancel(ctx, w.id)
			if scu.CodeOf(err) == scu.CodeConflict { // it failed, and couldn't be retried
				return nil
			}
			return err
		}})
	}
	return w
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
