package api

import (
	"context"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// A job is paused and resumed, and what can't be is refused with what to do.
func TestPauseAndResume(t *testing.T) {
	r, ctx := start(t, nil), t.Context()
	id := r.submit(nil)
	for _, word := range []string{"is paused", "was paused already"} {
		if got, err := r.sdk.Pause(ctx, id); err != nil || got.Status != scu.Paused || got.Message != "Job "+id+" "+word {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if l, err := r.sdk.Jobs(ctx, client.JobsFilter{Status: scu.Paused}); err != nil || l.Count != 1 || l.Jobs[0].JobID != id {
		t.Fatalf("%+v, %v", l, err)
	}
	f, err := r.sdk.Job(ctx, id)
	must(t, err)
	if _, err := r.sdk.DeleteFile(ctx, f.TrainData.ID); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("the data of a paused job can be deleted: %v", err)
	}
	if got, err := r.sdk.Resume(ctx, id); err != nil || got.Status != scu.Queued {
		t.Fatalf("%+v, %v", got, err)
	}
	r.complete(r.begin(id, 2), []byte("zip"))
	if _, err := r.sdk.Pause(ctx, id); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("a completed job is paused: %v", err)
	}
	if _, err := r.sdk.Retry(ctx, id, false); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("a completed job is retried: %v", err)
	}
	if _, err := r.sdk.Pause(ctx, "no such"); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("no job: %v", err)
	}
}

// Jobs that were given up are listed with the reason and retried together; jobs whose own
// data is wrong are left out, and one whose data is gone is refused.
func TestRetryDeadJobs(t *testing.T) {
	r, ctx := start(t, nil), t.Context()
	fail := func(attempt int, code scu.Code) string {
		id := r.submit(nil)
		j := r.begin(id, 2)
		r.transit(id, func(j scu.Job) (scu.Event, error) {
			return j.Fail(min(attempt, j.Attempt), scu.Errorf(code, "broke"), time.Now())
		})
		return j.ID
	}
	dead, bad, short := fail(0, scu.CodeInternal), fail(1, scu.CodeInvalid), fail(1, scu.CodeMemory)
	l, err := r.sdk.Jobs(ctx, client.JobsFilter{Status: scu.Failed, GivenUp: true})
	if err != nil || l.Count != 1 || l.Jobs[0].JobID != dead || l.Jobs[0].Error.Message != "broke" {
		t.Fatalf("%+v, %v", l, err)
	}
	for _, c := range []struct {
		ask  client.RetryRequest
		want string
	}{{client.RetryRequest{GivenUp: true}, dead}, {client.RetryRequest{ErrorCode: scu.CodeMemory}, short}, {client.RetryRequest{JobIDs: []string{bad, dead}, FromStart: true}, bad}} {
		got, err := r.sdk.RetryAll(ctx, c.ask)
		if err != nil || len(got.Retried) != 1 || got.Retried[0] != c.want || len(got.Refused) != len(c.ask.JobIDs)/2 {
			t.Errorf("%+v: %+v, %v", c.ask, got, err)
		}
	}
	for _, ask := range []client.RetryRequest{{}, {ErrorCode: scu.CodeInvalid}, {GivenUp: true, JobIDs: []string{dead}}} {
		if _, err := r.sdk.RetryAll(ctx, ask); scu.CodeOf(err) != scu.CodeInvalid {
			t.Errorf("%+v: %v", ask, err)
		}
	}
	st, err := r.sdk.Status(ctx, dead)
	if err != nil || st.Status != scu.Queued || st.CompletedAt != nil || st.Error != nil || st.Retries != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	for _, id := range []string{dead, bad, short} {
		_, err := r.sdk.Cancel(ctx, id)
		must(t, err)
	}
	f, err := r.sdk.Job(ctx, dead)
	must(t, err)
	_, err = r.sdk.DeleteFile(ctx, f.TrainData.ID)
	must(t, err)
	if _, err := r.sdk.Retry(ctx, dead, false); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("a job without data is retried: %v", err)
	}
}

// timed is a broker whose log has a clock of its own.
type timed struct {
	Broker
	ahead time.Duration
}

func (b timed) Time(context.Context) (time.Time, error) { return time.Now().Add(b.ahead), nil }

// Whether a job's time is still to come is told by the log's clock, alone and in a batch: the API's may be wrong.
func TestNotBeforeByTheLogsClock(t *testing.T) {
	at := time.Now()
	for ahead, want := range map[time.Duration]scu.Status{time.Hour: scu.Queued, -time.Hour: scu.Scheduled} {
		r := start(t, func(o *Options) { o.Broker = timed{o.Broker, ahead} })
		job := client.SubmitRequest{BaseModel: scu.BuiltInModel, TrainDataPath: "train.txt", NotBefore: &at}
		one, err := r.sdk.Submit(t.Context(), job)
		if err != nil || one.Status != want {
			t.Errorf("the log is %v ahead: %+v, %v", ahead, one, err)
		}
		all, err := r.sdk.SubmitBatch(t.Context(), client.BatchRequest{Jobs: []client.SubmitRequest{job}})
		if err != nil || all.Jobs[0].Status != want {
			t.Errorf("the log is %v ahead, in a batch: %+v, %v", ahead, all, err)
		}
	}
}

// A job with a time is scheduled, shows it, and can be cancelled or begun before it.
func TestNotBefore(t *testing.T) {
	r, ctx := start(t, nil), t.Context()
	at := time.Now().Add(time.Hour).Truncate(time.Second)
	id := r.submit(func(s *client.SubmitRequest) { s.NotBefore = &at })
	st, err := r.sdk.Status(ctx, id)
	if err != nil || st.Status != scu.Scheduled || st.NotBefore == nil || !st.NotBefore.Equal(at) {
		t.Fatalf("%+v, %v", st, err)
	}
	if _, err := r.sdk.Pause(ctx, id); scu.CodeOf(err) != scu.CodeConflict {
		t.Errorf("a scheduled job is paused: %v", err)
	}
	if got, err := r.sdk.Resume(ctx, id); err != nil || got.Status != scu.Queued {
		t.Errorf("%+v, %v", got, err)
	}
	past := time.Now().Add(-time.Hour)
	id = r.submit(func(s *client.SubmitRequest) { s.NotBefore = &past })
	if st, err = r.sdk.Status(ctx, id); err != nil || st.Status != scu.Queued {
		t.Errorf("%+v, %v", st, err)
	}
}
