package broker

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// rewrite stores a job's newest entry again as another version would have, and returns it.
func rewrite(t *testing.T, b *Broker, id string, change func(string) string) {
	t.Helper()
	m, err := b.last(testContext(t), stateStream, stateGuard(id))
	if err != nil {
		t.Fatal(err)
	}
	data := change(string(m.Data))
	if data == string(m.Data) {
		t.Fatal("nothing was changed")
	}
	if _, err := b.js.Publish(testContext(t), stateSubject(id, scu.APIWriter, scu.EventPhase), []byte(data)); err != nil {
		t.Fatal(err)
	}
}

// What a newer version keeps in a job lives through an older one that takes the job on.
func TestUnknownFieldsLiveOn(t *testing.T) {
	t.Parallel()
	b, ctx := newBroker(t), testContext(t)
	e := newJob(0)
	e.Job.Checkpoints = []scu.Checkpoint{{Step: 1}, {Step: 2}}
	id := e.Job.ID
	if _, err := b.Submit(ctx, e); err != nil {
		t.Fatal(err)
	}
	rewrite(t, b, id, func(s string) string {
		s = strings.Replace(s, `"job_id":`, `"patron":{"name":"ann","quota":12345678901234567890},"job_id":`, 1)
		s = strings.Replace(s, `"base_model":`, `"soul":[1,2],"base_model":`, 2)
		return strings.Replace(s, `{"step":2,`, `{"mirror":"s3","step":2,`, 1)
	})
	attempt := start(t, b, id, "t1")
	_, _, err := b.Append(ctx, id, "t1", func(j scu.Job) (scu.Event, error) {
		return j.Store(attempt, scu.Checkpoint{Step: 3}, 2, time.Now()) // the first goes
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := complete(b, id, "t1", attempt); err != nil {
		t.Fatal(err)
	}
	m, err := b.last(ctx, stateStream, stateGuard(id))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"patron":{"name":"ann","quota":12345678901234567890}`, `"soul":[1,2]`, `"mirror":"s3"`, `"status":"completed"`} {
		if !bytes.Contains(m.Data, []byte(want)) {
			t.Errorf("%s is not in %s", want, m.Data)
		}
	}
	job, _, err := b.Job(ctx, id)
	if err != nil || job.Status != scu.Completed || len(job.Checkpoints) != 2 || job.Checkpoints[0].Step != 2 {
		t.Fatalf("%+v, %v", job, err)
	}
}

// An older version leaves alone what it doesn't understand, and goes on with the rest.
func TestWhatANewerVersionMeansIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(string) string{
		"a newer format":    func(s string) string { return strings.Replace(s, `"version":1`, `"version":2`, 1) },
		"an unknown status": func(s string) string { return strings.Replace(s, `"status":"queued"`, `"status":"halted"`, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, ctx := newBroker(t), testContext(t)
			id, other := submit(t, b, 10), submit(t, b, 0)
			rewrite(t, b, id, change)
			_, _, err := b.Job(ctx, id)
			wantCode(t, err, scu.CodeUnavailable)
			_, _, err = b.Append(ctx, id, "t1", func(j scu.Job) (scu.Event, error) { return j.Start("t1", time.Now()) })
			wantCode(t, err, scu.CodeUnavailable)
			if c := next(t, openQueue(t, b, "t1")); c.id != other {
				t.Fatalf("got job %s, not %s", c.id, other)
			}
			if strings.Contains(name, "format") {
				wantCode(t, b.Follow(ctx, scu.Position{}, func(scu.Batch) error { return nil }), scu.CodeUnavailable)
			}
		})
	}
}

func FuzzCarry(f *testing.F) {
	f.Add([]byte(`{"a":1,"new":2}`), []byte(`{"a":1}`), []byte(`{"a":3}`))
	f.Add([]byte(`[{"x":1,"y":2}]`), []byte(`[{"x":1}]`), []byte(`[{"x":2},{"x":1}]`))
	f.Fuzz(func(t *testing.T, raw, before, after []byte) {
		if json.Valid(after) && !json.Valid(carry(raw, before, after)) && json.Valid(raw) {
			t.Errorf("%s, %s, %s give what is no JSON", raw, before, after)
		}
	})
}
