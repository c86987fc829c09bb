// Package storetest is what every store must do, as tests that each store runs
// on a database of its own.
package storetest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
)

// Database is one empty database.
type Database interface {
	// Open opens the store in it, again if asked again.
	Open(ctx context.Context) (store.Store, error)
	// SQL is a plain connection to it.
	SQL() (*sql.DB, error)
}

// Run runs the suite. create makes a database that is gone when t ends.
func Run(t *testing.T, create func(t *testing.T) Database) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Database)
	}{
		{"a job reads back as it was projected", jobRoundTrip},
		{"metrics read back as they were projected", metricsRoundTrip},
		{"what a string can't hold is replaced", nulCharacters},
		{"only newer entries change a job", olderEntries},
		{"metrics delivered twice are kept once", duplicates},
		{"of two projectors one is fenced", fence},
		{"rivals apply each batch once", rivals},
		{"a refused batch leaves nothing", refused},
		{"a cancelled call leaves nothing", cancelled},
		{"jobs come newest first, in pages", pagesOfJobs},
		{"a queued job has its place by class, owner, priority and age", places},
		{"of a long queue a job's place is counted so far and no further", farBack},
		{"a deleted job is gone, in whatever order that comes", deleted},
		{"jobs that have not ended use their files", users},
		{"metrics come by step, of the newest attempt, in pages", pagesOfMetrics},
		{"progress is the newest attempt's", progress},
		{"what isn't there is not found", notFound},
		{"reset empties", reset},
		{"the position is one of its log", identity},
		{"opened again it is as it was", reopen},
		{"several may open it at once", openAtOnce},
		{"people can query the columns", columns},
		{"a projector follows the log", follow},
		{"a projector skips what can't be projected", skip},
		{"a projector goes on after faults", faults},
		{"a projector that is fenced goes on from where the other is", twoProjectors},
		{"a rebuild gives the same rows", rebuild},
		{"a read model ahead of its log is refused", ahead},
		{"lost rows are noticed and made anew", damage},
	} {
		t.Run(strings.ReplaceAll(test.name, " ", "_"), func(t *testing.T) { test.run(t, create(t)) })
	}
}

// Open opens a store of db until t ends.
func Open(t testing.TB, db Database) store.Store {
	t.Helper()
	s, err := db.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Rows dumps every row of every table of the read model.
func Rows(t testing.TB, db Database) string {
	t.Helper()
	c, err := db.SQL()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var dump strings.Builder
	for _, q := range []string{
		"SELECT * FROM position", "SELECT * FROM jobs ORDER BY job_id", "SELECT * FROM progress ORDER BY job_id",
		"SELECT * FROM metrics ORDER BY job_id, step, attempt",
	} {
		fmt.Fprintln(&dump, q)
		for _, row := range query(t, c, q) {
			fmt.Fprintln(&dump, row...)
		}
	}
	return dump.String()
}

func query(t testing.TB, c *sql.DB, q string) [][]any {
	t.Helper()
	rows, err := c.Query(q)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var all [][]any
	for rows.Next() {
		row, to := make([]any, len(names)), make([]any, len(names))
		for i := range row {
			to[i] = &row[i]
		}
		if err := rows.Scan(to...); err != nil {
			t.Fatal(err)
		}
		for i, v := range row {
			if b, ok := v.([]byte); ok {
				row[i] = string(b)
			}
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

// at is a time with nanoseconds, n seconds after the first.
func at(n int) time.Time {
	return time.Date(2026, 11, 23, 12, 0, 0, 123456789, time.UTC).Add(time.Duration(n) * time.Second)
}

// jobID makes the id of the nth job.
func jobID(n int) string { return fmt.Sprintf("%016x", n) }

// newJob is a queued job, submitted at at(n).
func newJob(n int) scu.Job {
	c := scu.DefaultConfig()
	c.BaseModel = "bookworm-2m"
	return scu.Submission(scu.Job{ID: jobID(n), BaseModel: c.BaseModel, Config: c, Class: "cpu"}, at(n)).Job
}

// entry is what the log says of j.
func entry(seq uint64, j scu.Job) scu.LogEntry {
	return scu.LogEntry{Seq: seq, Event: scu.Event{Type: scu.EventPhase, Time: at(0), Job: j}}
}

// step is a step's metrics, with figures that don't repeat.
func step(job, attempt, n, steps int) scu.Metrics {
	x := float64(job) + float64(attempt)/7 + float64(n)/1000
	return scu.Metrics{JobID: jobID(job), Attempt: attempt, Step: n + 1, Steps: steps,
		Epoch: x / 3, Loss: x + 0.1, CE: x, DataBPT: x / math.Ln2, ParamBPT: x / 1e3, TotalBPT: x / 0.7, S: x / 1e2, TargetS: x / 1.5e2,
		SHat: x / 1.1e2, Lambda: x / 5, LambdaNext: x / 6, LearningRate: x * 1e-5, GradNorm: x / 9,
		Tokens: int64(n+1) << 33, TokensPerSecond: x * 1e4, ETAMinutes: x / 60, Timestamp: at(n).Truncate(time.Microsecond)}
}

// feed projects batches one after another, numbering entries by itself.
type feed struct {
	t     *testing.T
	store store.Store
	at    scu.Position
}

func newFeed(t *testing.T, s store.Store) *feed { return &feed{t: t, store: s} }

func (f *feed) batch(jobs []scu.Job, metrics []scu.Metrics) scu.Batch {
	b := scu.Batch{From: f.at, To: f.at}
	for _, j := range jobs {
		b.To.State++
		b.State = append(b.State, entry(b.To.State, j))
	}
	for _, m := range metrics {
		b.To.Metrics++
		b.Metrics = append(b.Metrics, scu.MetricsEntry{Seq: b.To.Metrics, Metrics: m})
	}
	return b
}

func (f *feed) project(b scu.Batch) {
	f.t.Helper()
	if err := f.store.Project(f.t.Context(), b); err != nil {
		f.t.Fatal(err)
	}
	f.at = b.To
	if got, err := f.store.Position(f.t.Context()); err != nil || got != b.To {
		f.t.Fatalf("positions %+v, %v; want %+v", got, err, b.To)
	}
}

func (f *feed) jobs(jobs ...scu.Job)        { f.t.Helper(); f.project(f.batch(jobs, nil)) }
func (f *feed) metrics(rows ...scu.Metrics) { f.t.Helper(); f.project(f.batch(nil, rows)) }

func job(t *testing.T, s store.Store, id string) (scu.Job, scu.Progress) {
	t.Helper()
	j, p, err := s.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j, p
}

func page(t *testing.T, s store.Store, id string, p scu.StepPage) ([]scu.Metrics, bool) {
	t.Helper()
	rows, more, err := s.Metrics(t.Context(), id, p)
	if err != nil {
		t.Fatal(err)
	}
	return rows, more
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// fullJob is a job in which every field is set, to values that are easily lost.
func fullJob() scu.Job {
	j := newJob(1)
	steps, gpu := 77, 3
	t1, t2 := at(5), at(9)
	val := 1e-300
	j.Name = "näme \"quoted\" \\u0000 <&> \u2028 💡"
	j.Config.Steps, j.Config.GPUID, j.Config.Seed = &steps, &gpu, math.MaxInt64
	j.Config.PriorSigma, j.Config.LearningRate = 0.1, math.SmallestNonzeroFloat64
	j.Config.MaxGradNorm = math.MaxFloat64
	j.Config.LoRA.RankPattern = map[string]int{"h.0.attn": 4, "": 1}
	j.TrainData = scu.File{ID: strings.Repeat("ab", 32), Name: "train.txt", Size: 1 << 60, CreatedAt: at(0)}
	j.ValData = &scu.File{ID: strings.Repeat("cd", 32), Name: "val.txt", CreatedAt: at(1)}
	j.Owner = "ada"
	j.Priority, j.Attempt, j.Trainer, j.Steps = -100, 3, "trainer-1", 77
	j.Status, j.Phase = scu.Failed, scu.Training
	j.Warnings = []string{"first", ""}
	j.StartedAt, j.CompletedAt = &t1, &t2
	j.Error = scu.Errorf(scu.CodeMemory, "out of memory").WithHint("smaller").At("batch_size")
	j.Adapter = &scu.Adapter{JobID: j.ID, Name: "a.zip", Size: 9, Files: []scu.AdapterFile{{Name: "x", Size: 1}},
		Metrics: scu.Summary{Steps: 77, ValLossAfter: &val, S: 0.30000000000000004, Warnings: []string{"w"}}, CreatedAt: at(8)}
	return j
}

func jobRoundTrip(t *testing.T, db Database) {
	s := Open(t, db)
	f := newFeed(t, s)
	full, plain := fullJob(), newJob(2)
	f.jobs(full, plain)
	for _, want := range []scu.Job{full, plain} {
		got, _ := job(t, s, want.ID)
		equal(t, "job", got, want)
	}
	list, err := s.Jobs(t.Context(), scu.JobFilter{})
	if err != nil || len(list) != 2 {
		t.Fatalf("%d jobs, %v", len(list), err)
	}
	equal(t, "listed", []scu.Job{list[0].Job, list[1].Job}, []scu.Job{plain, full})
}

func metricsRoundTrip(t *testing.T, db Database) {
	s := Open(t, db)
	val := 0.1 + 0.2
	a, b, c := step(1, 1, 0, 9), step(1, 1, 1, 9), step(1, 1, 2, 9)
	low, high := 1e-6, 1e4
	a.ValLoss, a.LambdaMin, a.LambdaMax = &val, &low, &high
	b.Loss, b.CE, b.Lambda, b.S = math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, math.Nextafter(1, 2)
	b.Tokens = math.MaxInt64
	c.Timestamp = time.Date(2026, 1, 1, 1, 0, 0, 123456789, time.FixedZone("east", 3600))
	newFeed(t, s).metrics(a, b, c)
	c.Timestamp = time.Date(2026, 1, 1, 0, 0, 0, 123456000, time.UTC)
	rows, more := page(t, s, a.JobID, scu.StepPage{AfterStep: 0})
	equal(t, "metrics", rows, []scu.Metrics{a, b, c})
	equal(t, "more", more, false)
}

func nulCharacters(t *testing.T, db Database) {
	s := Open(t, db)
	j := newJob(1)
	j.Status, j.Error = scu.Failed, scu.Errorf(scu.CodeInternal, "bad \x00 byte, \\u0000 not")
	newFeed(t, s).jobs(j)
	got, _ := job(t, s, j.ID)
	equal(t, "message", got.Error.Message, "bad \ufffd byte, \\u0000 not")
}

func olderEntries(t *testing.T, db Database) {
	s := Open(t, db)
	f := newFeed(t, s)
	queued := newJob(1)
	started, err := queued.Start("one", at(2))
	if err != nil {
		t.Fatal(err)
	}
	f.jobs(queued, started.Job) // both in one batch: the newer stays
	got, _ := job(t, s, queued.ID)
	equal(t, "job", got, started.Job)

	again := f.batch(nil, nil)
	again.State = []scu.LogEntry{entry(1, queued)} // delivered once more
	f.project(again)
	got, _ = job(t, s, queued.ID)
	equal(t, "job", got, started.Job)

	cancelled, err := started.Job.Cancel(at(3))
	if err != nil {
		t.Fatal(err)
	}
	f.jobs(cancelled.Job)
	got, _ = job(t, s, queued.ID)
	equal(t, "job", got, cancelled.Job)
}

func duplicates(t *testing.T, db Database) {
	s := Open(t, db)
	f := newFeed(t, s)
	first, second, third := step(1, 1, 0, 3), step(1, 1, 1, 3), step(1, 1, 2, 3)
	other := second
	other.Loss = 99
	f.metrics(first, second, other, second) // within a batch
	f.metrics(other, third, first)          // and over batches
	rows, _ := page(t, s, first.JobID, scu.StepPage{AfterStep: 0})
	equal(t, "metrics", rows, []scu.Metrics{first, second, third})
	n, err := s.Latest(t.Context(), first.JobID)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "latest", n, third)
}

func fence(t *testing.T, db Database) {
	one, two := newFeed(t, Open(t, db)), newFeed(t, Open(t, db))
	one.jobs(newJob(1))
	for name, b := range map[string]scu.Batch{
		"state":   two.batch([]scu.Job{newJob(2)}, []scu.Metrics{step(2, 1, 0, 1)}),
		"nothing": two.batch(nil, nil),
	} {
		if err := two.store.Project(t.Context(), b); !errors.Is(err, store.ErrFenced) {
			t.Fatalf("%s: got %v, want ErrFenced", name, err)
		}
	}
	if _, _, err := two.store.Job(t.Context(), jobID(2)); scu.CodeOf(err) != scu.CodeNotFound {
		t.Fatalf("what a fenced projector wrote is there: %v", err)
	}
	two.at = one.at
	two.jobs(newJob(2))
}

func identity(t *testing.T, db Database) {
	s := Open(t, db)
	to := scu.Position{State: 1, Metrics: 2, Log: "one-another"}
	if err := s.Project(t.Context(), scu.Batch{To: to}); err != nil {
		t.Fatal(err)
	}
	at, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "position", at, to)
	if err := s.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, err = s.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "position after a ping", at, to)
	if err := s.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at, err = s.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "position of an empty store", at, scu.Position{})
}

func rivals(t *testing.T, db Database) {
	const batches, size = 20, 5
	var rivals sync.WaitGroup
	won := make([]int, 2)
	for i := range won {
		s := Open(t, db)
		rivals.Add(1)
		go func() {
			defer rivals.Done()
			f := newFeed(t, s)
			for n := range batches {
				var rows []scu.Metrics
				for k := range size {
					rows = append(rows, step(1, 1, n*size+k, batches*size))
				}
				b := f.batch([]scu.Job{newJob(n)}, rows)
				err := s.Project(t.Context(), b)
				if err == nil {
					won[i]++
				} else if !errors.Is(err, store.ErrFenced) {
					t.Error(err)
				}
				f.at = b.To
			}
		}()
	}
	rivals.Wait()
	s := Open(t, db)
	rows, _ := page(t, s, jobID(1), scu.StepPage{AfterStep: 0})
	at, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "batches applied, rows, positions", []any{won[0] + won[1], len(rows), at},
		[]any{batches, batches * size, scu.Position{State: batches, Metrics: batches * size}})
}

func refused(t *testing.T, db Database) {
	s := Open(t, db)
	f := newFeed(t, s)
	f.jobs(newJob(1))
	before := Rows(t, db)
	bad := func(change func(*scu.Job, *scu.Metrics)) scu.Batch {
		j, m := newJob(2), step(2, 1, 0, 1)
		change(&j, &m)
		return f.batch([]scu.Job{newJob(3), j}, []scu.Metrics{step(3, 1, 0, 1), m})
	}
	nan := math.NaN()
	for name, b := range map[string]scu.Batch{
		"job id":            bad(func(j *scu.Job, _ *scu.Metrics) { j.ID = "x'); DROP TABLE jobs; --" }),
		"status":            bad(func(j *scu.Job, _ *scu.Metrics) { j.Status = "lost" }),
		"time":              bad(func(j *scu.Job, _ *scu.Metrics) { j.CreatedAt = time.Unix(1<<40, 0) }),
		"job id of metrics": bad(func(_ *scu.Job, m *scu.Metrics) { m.JobID = "\x00" }),
		"step":              bad(func(_ *scu.Job, m *scu.Metrics) { m.Step = -1 }),
		"NaN":               bad(func(_ *scu.Job, m *scu.Metrics) { m.Loss = nan }),
		"infinity":          bad(func(_ *scu.Job, m *scu.Metrics) { m.GradNorm = math.Inf(1) }),
		"NaN, validation":   bad(func(_ *scu.Job, m *scu.Metrics) { m.ValLoss = &nan }),
		"NaN, target":       bad(func(_ *scu.Job, m *scu.Metrics) { m.TargetS = nan }),
		"NaN, bound":        bad(func(_ *scu.Job, m *scu.Metrics) { m.LambdaMax = &nan }),
		"time of metrics":   bad(func(_ *scu.Job, m *scu.Metrics) { m.Timestamp = time.Time{}.AddDate(-1, 0, 0) }),
		"backwards":         {From: f.at},
	} {
		if err := s.Project(t.Context(), b); scu.CodeOf(err) != scu.CodeInvalid {
			t.Errorf("%s: got %v, want %s", name, err, scu.CodeInvalid)
		}
	}
	equal(t, "rows", Rows(t, db), before)
}

func cancelled(t *testing.T, db Database) {
	s := Open(t, db)
	f := newFeed(t, s)
	f.jobs(newJob(1))
	before := Rows(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Project(ctx, f.batch([]scu.Job{newJob(2)}, []scu.Metrics{step(2, 1, 0, 1)})); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want %v", err, context.Canceled)
	}
	equal(t, "rows", Rows(t, db), before)
	f.jobs(newJob(2))
}

func places(t *testing.T, db Database) {
	s := Open(t, db)
	type queued struct {
		owner, class  string
		priority, sec int // when it was queued
		how           scu.EventType
	}
	all := map[int]queued{
		1: {"", "cpu", 0, 1, scu.EventSubmitted}, 2: {"", "cpu", 5, 2, scu.EventSubmitted},
		3: {"", "gpu24", 9, 3, scu.EventSubmitted}, 4: {"", "cpu", 0, 4, scu.EventResumed},
		5: {"", "cpu", -1, 5, scu.EventSubmitted}, 6: {"", "cpu", 0, 0, scu.EventHandedBack},
		7: {"", "gpu24", 9, 7, scu.EventRetried}, 8: {"", "cpu", 9, 8, scu.EventStarted}, 9: {"", "cpu", 9, 9, scu.EventCancelled},
		10: {"ada", "cpu", 100, 10, scu.EventSubmitted}, 11: {"ada", "cpu", 100, 11, scu.EventSubmitted},
		12: {"bob", "gpu24", 0, 12, scu.EventSubmitted}, 13: {"ada", "cpu", -100, 0, scu.EventSubmitted},
	}
	f := newFeed(t, s)
	jobs := map[int]scu.Job{}
	for n := 1; n <= len(all); n++ {
		q := all[n]
		j := newJob(n)
		j.Owner, j.Class, j.Priority, j.CreatedAt, j.UpdatedAt = q.owner, q.class, q.priority, at(q.sec), at(q.sec)
		switch q.how {
		case scu.EventStarted:
			j.Status = scu.Running
		case scu.EventCancelled:
			j.Status = scu.Cancelled
		}
		b := f.batch([]scu.Job{j}, nil)
		b.State[0].Event.Type, b.State[0].Event.Time = q.how, at(q.sec)
		if q.how == scu.EventHandedBack {
			b.State[0].Event.Time = at(q.sec + 30)
		}
		f.project(b)
		jobs[n] = j
	}
	ask := func(n int, ageing time.Duration, want scu.Ahead) {
		t.Helper()
		got, err := s.Ahead(t.Context(), jobs[n], uint64(n), ageing)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprintf("before job %d, ageing %v", n, ageing), got, want)
	}
	for n, want := range map[int]scu.Ahead{
		2: {OtherOwners: 1}, 6: {HigherPriority: 1, OtherOwners: 2}, 1: {HigherPriority: 1, SamePriority: 1, OtherOwners: 3},
		4: {HigherPriority: 1, SamePriority: 2, OtherOwners: 3}, 5: {HigherPriority: 4, OtherOwners: 3},
		3: {OtherOwners: 1}, 7: {SamePriority: 1, OtherOwners: 1}, 12: {OtherOwners: 1},
		10: {OtherOwners: 1}, 11: {SamePriority: 1, OtherOwners: 2}, 13: {HigherPriority: 2, OtherOwners: 3},
	} {
		ask(n, 0, want)
	}
	// Due at its second, less the ageing for each point of priority.
	ask(2, time.Second, scu.Ahead{OtherOwners: 1}) // -3 s
	ask(2, time.Millisecond, scu.Ahead{HigherPriority: 2, OtherOwners: 3})
	ask(5, time.Millisecond, scu.Ahead{HigherPriority: 4, OtherOwners: 3})
	ask(1, time.Millisecond, scu.Ahead{SamePriority: 1, OtherOwners: 2})
	ask(13, 10*time.Millisecond, scu.Ahead{OtherOwners: 1}) // 1 s
	ask(10, 10*time.Millisecond, scu.Ahead{HigherPriority: 1, OtherOwners: 2})
	late := newJob(20) // that the read model doesn't know yet
	late.Class, late.UpdatedAt = "cpu", at(4)
	jobs[20] = late
	ask(20, time.Millisecond, scu.Ahead{HigherPriority: 1, SamePriority: 3, OtherOwners: 3})
}

// farBack: of a long queue not all is counted, whether it is an owner's own or the others'.
func farBack(t *testing.T, db Database) {
	const own, others = scu.CountedAhead + 5, 4
	s := Open(t, db)
	f := newFeed(t, s)
	var jobs []scu.Job
	add := func(owner string) {
		j := newJob(len(jobs))
		j.Owner, j.CreatedAt, j.UpdatedAt = owner, at(len(jobs)), at(len(jobs))
		jobs = append(jobs, j)
	}
	for range own {
		add("")
	}
	for n := range others * own {
		add(fmt.Sprint("owner-", n%others))
	}
	b := f.batch(jobs, nil)
	for i := range b.State {
		b.State[i].Event.Type, b.State[i].Event.Time = scu.EventSubmitted, jobs[i].UpdatedAt
	}
	f.project(b)
	for n, want := range map[int]scu.Ahead{
		0:       {OtherOwners: others},
		7:       {SamePriority: 7, OtherOwners: 8 * others},
		own - 1: {SamePriority: scu.CountedAhead, OtherOwners: scu.CountedAhead, More: true},
		300:     {SamePriority: 300, OtherOwners: scu.CountedAhead, More: true},
	} {
		got, err := s.Ahead(t.Context(), jobs[n], uint64(n+1), 0)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprintf("before job %d", n), got, want)
	}
}

func deleted(t *testing.T, db Database) {
	s := Open(t, db)
	kept, gone := newJob(1), newJob(2)
	gone.Status = scu.Failed
	deletion, err := gone.Delete(at(3))
	if err != nil {
		t.Fatal(err)
	}
	jobs := []scu.Job{kept, gone, deletion.Job}
	metrics := []scu.Metrics{step(1, 1, 0, 3), step(2, 1, 0, 3), step(2, 1, 1, 3)}
	orders := map[string]func(f *feed){
		"at once":       func(f *feed) { f.project(f.batch(jobs, metrics)) },
		"state first":   func(f *feed) { f.jobs(jobs...); f.metrics(metrics...) },
		"metrics first": func(f *feed) { f.metrics(metrics...); f.jobs(jobs...) },
		"one by one": func(f *feed) {
			for i := range jobs {
				f.project(f.batch(jobs[i:i+1], metrics[i:i+1]))
			}
		},
	}
	rows := ""
	for name, order := range orders {
		if err := s.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		order(newFeed(t, s))
		if now := Rows(t, db); rows == "" {
			rows = now
		} else if now != rows {
			t.Errorf("%s: the rows are\n%s\nnot\n%s", name, now, rows)
		}
		if _, _, err := s.Job(t.Context(), gone.ID); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("%s: the deleted job is %v", name, err)
		}
		if _, err := s.Latest(t.Context(), gone.ID); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("%s: its newest step is %v", name, err)
		}
		got, _ := page(t, s, gone.ID, scu.StepPage{})
		equal(t, "metrics of the deleted job", len(got), 0)
		got, _ = page(t, s, kept.ID, scu.StepPage{})
		equal(t, "metrics of the other", len(got), 1)
		list, err := s.Jobs(t.Context(), scu.JobFilter{})
		if err != nil || len(list) != 1 || list[0].Job.ID != kept.ID {
			t.Errorf("%s: %d jobs are listed, %v", name, len(list), err)
		}
		if list, err = s.Jobs(t.Context(), scu.JobFilter{After: gone.ID}); err != nil || len(list) != 1 {
			t.Errorf("%s: after the deleted job come %d, %v", name, len(list), err)
		}
		n, err := s.Counts(t.Context(), "")
		if _, known := n[scu.Deleted]; err != nil || known || n[scu.Queued] != 1 || n[scu.Failed] != 0 {
			t.Errorf("%s: counts %v, %v", name, n, err)
		}
	}
}

func users(t *testing.T, db Database) {
	s := Open(t, db)
	file := func(n int) scu.File { return scu.File{ID: fmt.Sprintf("%064x", n), Name: "x.txt"} }
	train, val, from, ended, other := newJob(1), newJob(2), newJob(3), newJob(4), newJob(5)
	train.TrainData = file(1)
	one := file(1)
	val.TrainData, val.ValData, val.Status = file(2), &one, scu.Running
	from.TrainData, from.Config.FromAdapterFile = file(2), file(1).ID
	ended.TrainData, ended.Status = file(1), scu.Completed
	other.TrainData, other.Sources = file(3), scu.Sources{{Path: "a", File: file(3)}, {Path: "b", File: file(5)}}
	val.Owner = "ada"
	newFeed(t, s).jobs(train, val, from, ended, other)
	if got, err := s.UsersOf(t.Context(), "ada", file(1).ID, 10); err != nil || len(got) != 1 || got[0] != val.ID {
		t.Errorf("ada's: %v, %v", got, err)
	}
	for id, want := range map[string][]string{
		file(1).ID: {train.ID, val.ID, from.ID}, file(2).ID: {val.ID, from.ID}, file(3).ID: {other.ID}, file(4).ID: nil, file(5).ID: {other.ID},
	} {
		got, err := s.UsersOf(t.Context(), "", id, 10)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "users", got, want)
	}
	if got, err := s.UsersOf(t.Context(), "", file(1).ID, 2); err != nil || len(got) != 2 {
		t.Errorf("of two at most: %v, %v", got, err)
	}
}

func pagesOfJobs(t *testing.T, db Database) {
	s := Open(t, db)
	var jobs []scu.Job
	for n := range 25 {
		j := newJob(n)
		j.CreatedAt = at(n / 3) // ties, broken by the id
		if n%2 == 1 {
			j.Status = scu.Running
		}
		if n%3 == 0 {
			j.Owner = "ada"
		}
		j.Name = map[int]string{11: "Poem 1", 12: "Poem 2", 13: "100% of_it", 14: "Ålesund, été"}[n]
		jobs = append(jobs, j)
	}
	newFeed(t, s).jobs(jobs...)
	slices.Reverse(jobs)

	list := func(f scu.JobFilter) []scu.Job {
		t.Helper()
		rows, err := s.Jobs(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		var js []scu.Job
		for _, r := range rows {
			js = append(js, r.Job)
		}
		return js
	}
	equal(t, "all", list(scu.JobFilter{}), jobs)
	for text, want := range map[string]int{"poem": 2, "POEM 1": 1, "0% of_": 1, "%": 1, "_": 1, `\`: 0, "bookworm": 25, "worm-2M": 25, jobID(7): 1, jobID(24)[:15]: 9, "'": 0, "Ålesund, é": 1, "none such": 0, "\x00": 0, "\xff": 0} {
		if got := list(scu.JobFilter{Search: text}); len(got) != want {
			t.Errorf("%d jobs for %q, want %d", len(got), text, want)
		}
	}
	for _, f := range []scu.JobFilter{{Owner: "\x00"}, {Owner: "\xff"}, {ErrorCode: "\x00"}, {ErrorCode: "\xff"}} {
		equal(t, fmt.Sprintf("jobs of owner %q with error %q", f.Owner, f.ErrorCode), len(list(f)), 0)
	}
	equal(t, "search, of an owner and a status", list(scu.JobFilter{Search: "poem", Owner: "ada", Status: scu.Queued}), jobs[24-12:24-12+1])
	for _, f := range []scu.JobFilter{{}, {Status: scu.Running}, {Status: scu.Queued}, {Status: scu.Failed}, {Owner: "ada"}, {Owner: "ada", Status: scu.Queued}, {Owner: "bob"}} {
		var want, got []scu.Job
		for _, j := range jobs {
			if (f.Status == "" || j.Status == f.Status) && (f.Owner == "" || j.Owner == f.Owner) {
				want = append(want, j)
			}
		}
		what := fmt.Sprintf("pages of %+v", f)
		f.Limit = 4
		for {
			rows := list(f)
			got = append(got, rows...)
			if len(rows) < f.Limit {
				break
			}
			f.After = rows[len(rows)-1].ID
		}
		equal(t, what, got, want)
	}
	if rows, err := s.Jobs(t.Context(), scu.JobFilter{Owner: "ada", After: jobs[1].ID}); jobs[1].Owner == "ada" || scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("after another's job: %d rows, %v", len(rows), err)
	}
	at, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n, seq, err := s.WaitingOf(t.Context(), "ada"); err != nil || n != 5 || seq != at.State {
		t.Errorf("ada has %d that wait, at %d of %d, %v", n, seq, at.State, err)
	}
	for owner, running := range map[string]int{"ada": 4, "bob": 0} {
		n, err := s.Counts(t.Context(), owner)
		if err != nil || n[scu.Running] != running || len(n) != len(scu.Statuses) {
			t.Errorf("counts of %s: %v, %v", owner, n, err)
		}
	}
	counts, err := s.Counts(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "counts", counts, map[scu.Status]int{scu.Queued: 13, scu.Running: 12, scu.Scheduled: 0, scu.Paused: 0, scu.Completed: 0, scu.Failed: 0, scu.Cancelled: 0})
	waiting, err := s.Waiting(t.Context())
	if err != nil || len(waiting) != 1 || waiting[0].Jobs != 13 || waiting[0].Class != "cpu" || waiting[0].Oldest.IsZero() {
		t.Errorf("waiting: %+v, %v; want 13 of one level", waiting, err)
	}
}

func pagesOfMetrics(t *testing.T, db Database) {
	s := Open(t, db)
	f := newFeed(t, s)
	var want []scu.Metrics
	for n := range 30 { // attempt 1: 0-19, attempt 2 from a checkpoint: 15-24, attempt 10: 22-29
		attempt := 1
		if n >= 15 {
			attempt = 2
		}
		if n >= 22 {
			attempt = 10
		}
		want = append(want, step(1, attempt, n, 30))
		switch {
		case n >= 15 && n < 20:
			f.metrics(step(1, 1, n, 30))
		case n >= 22 && n < 25:
			f.metrics(step(1, 2, n, 30))
		}
	}
	shuffled := append(slices.Clone(want[10:]), want[:10]...)
	f.metrics(append(shuffled, step(2, 1, 3, 9))...)

	rows, more := page(t, s, jobID(1), scu.StepPage{AfterStep: 0})
	equal(t, "all", rows, want)
	equal(t, "more", more, false)
	rows, more = page(t, s, jobID(1), scu.StepPage{AfterStep: 14, Limit: 5})
	equal(t, "page", rows, want[14:19])
	equal(t, "more", more, true)
	rows, more = page(t, s, jobID(1), scu.StepPage{AfterStep: 25, Limit: 5})
	equal(t, "last page", rows, want[25:])
	equal(t, "more", more, false)
	rows, more = page(t, s, jobID(1), scu.StepPage{AfterStep: 30})
	equal(t, "past the end", len(rows), 0)
	equal(t, "more", more, false)
	rows, more = page(t, s, jobID(1), scu.StepPage{Only: []int{16, 3, 30, 31}})
	equal(t, "some steps", rows, []scu.Metrics{want[2], want[15], want[29]})
	equal(t, "more", more, false)

	var points []scu.CurvePoint
	err := s.Curves(t.Context(), jobID(1), func(p scu.CurvePoint) { points = append(points, p) })
	var drawn []scu.CurvePoint
	for _, m := range want {
		drawn = append(drawn, scu.CurvePoint{Step: m.Step, CE: m.CE, ValLoss: m.ValLoss, S: m.S, SHat: m.SHat, Lambda: m.Lambda, LambdaNext: m.LambdaNext, LambdaHeld: m.LambdaMin != nil || m.LambdaMax != nil})
	}
	equal(t, "curves", points, drawn)
	equal(t, "error", err, nil)
	for _, id := range []string{jobID(9), "none"} {
		if err := s.Curves(t.Context(), id, func(p scu.CurvePoint) { t.Errorf("%s has the step %+v", id, p) }); err != nil {
			t.Errorf("curves of %s: %v", id, err)
		}
	}
}

func progress(t *testing.T, db Database) {
	s := Open(t, db)
	f := newFeed(t, s)
	j := newJob(1)
	check := func(what string, want scu.Progress) {
		t.Helper()
		_, got := job(t, s, j.ID)
		equal(t, what, got, want)
		list, err := s.Jobs(t.Context(), scu.JobFilter{})
		if err != nil {
			t.Fatal(err)
		}
		equal(t, what+", listed", list[0].Progress, want)
	}
	f.jobs(j)
	check("queued", scu.Progress{})
	j.Status, j.Steps = scu.Running, 40
	f.jobs(j)
	check("steps known", scu.Progress{Steps: 40})
	f.metrics(step(1, 1, 0, 40), step(1, 1, 29, 40), step(1, 1, 3, 40))
	check("attempt 1", scu.Progress{Step: 30, Steps: 40, Percent: 75})
	f.metrics(step(1, 2, 9, 40))
	check("attempt 2", scu.Progress{Step: 10, Steps: 40, Percent: 25})
	f.metrics(step(1, 1, 35, 40)) // late
	check("attempt 1 again", scu.Progress{Step: 10, Steps: 40, Percent: 25})
	newest, err := s.Latest(t.Context(), j.ID)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "latest", newest, step(1, 2, 9, 40))
	f.metrics(step(1, 2, 39, 40))
	check("trained", scu.Progress{Step: 40, Steps: 40, Percent: 99.9})
	j.Status = scu.Completed
	f.jobs(j)
	check("completed", scu.Progress{Step: 40, Steps: 40, Percent: 100})
}

func notFound(t *testing.T, db Database) {
	s := Open(t, db)
	for _, id := range []string{jobID(1), "", "\x00", "\xff", "' OR 1=1 --", strings.Repeat("a", 1e6)} {
		if _, _, err := s.Job(t.Context(), id); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("job %.20q: %v", id, err)
		}
		if _, err := s.Latest(t.Context(), id); scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("latest of %.20q: %v", id, err)
		}
		rows, more := page(t, s, id, scu.StepPage{})
		equal(t, "metrics", len(rows), 0)
		equal(t, "more", more, false)
		if _, err := s.Jobs(t.Context(), scu.JobFilter{After: id}); id != "" && scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("jobs after %.20q: %v", id, err)
		}
	}
	if _, err := s.Jobs(t.Context(), scu.JobFilter{Status: "\x00"}); scu.CodeOf(err) != scu.CodeInvalid {
		t.Errorf("jobs of an unknown status: %v", err)
	}
	list, err := s.Jobs(t.Context(), scu.JobFilter{})
	if err != nil || len(list) != 0 {
		t.Errorf("jobs: %v, %v", list, err)
	}
}

func reset(t *testing.T, db Database) {
	s := Open(t, db)
	empty := Rows(t, db)
	f := newFeed(t, s)
	f.project(f.batch([]scu.Job{newJob(1)}, []scu.Metrics{step(1, 1, 0, 2)}))
	if err := s.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	equal(t, "rows", Rows(t, db), empty)
	f.at = scu.Position{}
	f.project(f.batch([]scu.Job{newJob(1)}, []scu.Metrics{step(1, 1, 0, 2)}))
}

func reopen(t *testing.T, db Database) {
	s, err := db.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f := newFeed(t, s)
	f.project(f.batch([]scu.Job{fullJob()}, []scu.Metrics{step(1, 1, 0, 2)}))
	before := Rows(t, db)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f.store = Open(t, db)
	equal(t, "rows", Rows(t, db), before)
	f.jobs(newJob(2))
}

func openAtOnce(t *testing.T, db Database) {
	var all sync.WaitGroup
	for range 4 {
		all.Add(1)
		go func() {
			defer all.Done()
			s, err := db.Open(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if _, err := s.Position(t.Context()); err != nil {
				t.Error(err)
			}
		}()
	}
	all.Wait()
}

func columns(t *testing.T, db Database) {
	s := Open(t, db)
	newFeed(t, s).jobs(fullJob(), newJob(2))
	c, err := db.SQL()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	equal(t, "jobs", query(t, c, `SELECT job_id, base_model, class, priority, status, current_phase, attempt, trainer, total_steps,
		error_code, error_message, CAST(config->>'seed' AS text), adapter->>'name', CASE WHEN completed_at IS NULL THEN 'runs' ELSE 'ended' END, owner FROM jobs ORDER BY job_id`), [][]any{
		{jobID(1), "bookworm-2m", "cpu", int64(-100), "failed", "training", int64(3), "trainer-1", int64(77),
			"out_of_memory", "out of memory", "9223372036854775807", "a.zip", "ended", "ada"},
		{jobID(2), "bookworm-2m", "cpu", int64(0), "queued", nil, int64(0), nil, nil, nil, nil, "42", nil, "runs", ""},
	})
}
