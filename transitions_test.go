package scu_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shannon-control/scu"
)

// asks is one actor's wish to take a job on, as an attempt.
type asks func(j scu.Job, attempt int) (scu.Event, error)

var wishes = map[scu.EventType]asks{
	scu.EventStarted: func(j scu.Job, _ int) (scu.Event, error) { return j.Start("t1", time.Now()) },
	scu.EventPhase: func(j scu.Job, attempt int) (scu.Event, error) {
		return j.Enter(attempt, scu.Training, 7, []string{"odd"}, time.Now())
	},
	scu.EventCheckpoint: func(j scu.Job, attempt int) (scu.Event, error) {
		return j.Store(attempt, scu.Checkpoint{Step: 3}, 3, time.Now())
	},
	scu.EventStop:       func(j scu.Job, _ int) (scu.Event, error) { return j.Stop(time.Now()) },
	scu.EventHandedBack: func(j scu.Job, attempt int) (scu.Event, error) { return j.HandBack(attempt, time.Now()) },
	scu.EventCompleted: func(j scu.Job, attempt int) (scu.Event, error) {
		return j.Complete(attempt, scu.Adapter{JobID: j.ID}, time.Now())
	},
	scu.EventFailed: func(j scu.Job, attempt int) (scu.Event, error) {
		return j.Fail(attempt, scu.Errorf(scu.CodeInternal, "broke"), time.Now())
	},
	scu.EventPaused:    func(j scu.Job, _ int) (scu.Event, error) { return j.Pause(time.Now()) },
	scu.EventResumed:   func(j scu.Job, _ int) (scu.Event, error) { return j.Resume(time.Now()) },
	scu.EventRetried:   func(j scu.Job, attempt int) (scu.Event, error) { return j.Retry(attempt%2 == 0, time.Now()) },
	scu.EventCancelled: func(j scu.Job, _ int) (scu.Event, error) { return j.Cancel(time.Now()) },
	scu.EventDeleted:   func(j scu.Job, _ int) (scu.Event, error) { return j.Delete(time.Now()) },
}

// The state machine, written out: who may do what, in which state. An owner is the
// running attempt, a stranger any other; the supervisor is attempt 0.
func TestEveryTransition(t *testing.T) {
	const table = `
event        by          scheduled queued    running   paused    completed failed  cancelled deleted
started      owner       -         running   running   -         -         -       -         -
started      stranger    -         running   running   -         -         -       -         -
phase        owner       -         -         running   -         -         -       -         -
phase        stranger    -         -         -         -         -         -       -         -
checkpoint   owner       -         -         running   -         -         -       -         -
checkpoint   stranger    -         -         -         -         -         -       -         -
stop         owner       -         -         running   -         -         -       -         -
stop         stranger    -         -         running   -         -         -       -         -
handed_back  owner       -         -         queued    -         -         -       -         -
handed_back  stranger    -         -         -         -         -         -       -         -
paused       stranger    -         paused    paused    -         -         -       -         -
resumed      stranger    queued    -         -         queued    -         -       -         -
completed    owner       -         -         completed -         -         -       -         -
completed    stranger    -         -         -         -         -         -       -         -
failed       owner       -         -         failed    -         -         -       -         -
failed       stranger    -         -         -         -         -         -       -         -
failed       supervisor  -         failed    failed    -         -         -       -         -
cancelled    owner       cancelled cancelled cancelled cancelled -         -       -         -
cancelled    stranger    cancelled cancelled cancelled cancelled -         -       -         -
retried      stranger    -         -         -         -         -         queued  queued    -
deleted      stranger    -         -         -         -         deleted   deleted deleted   -`
	rows := strings.Split(strings.TrimSpace(table), "\n")
	states := strings.Fields(rows[0])[2:]
	for _, row := range rows[1:] {
		f := strings.Fields(row)
		attempt := map[string]int{"owner": 3, "stranger": 2, "supervisor": 0}[f[1]]
		for i, state := range states {
			later := time.Now().Add(time.Hour)
			j := scu.Job{ID: scu.NewJobID(), Status: scu.Status(state), Attempt: 3, NotBefore: &later}
			e, err := wishes[scu.EventType(f[0])](j, attempt)
			if want := f[2+i]; want == "-" {
				if scu.CodeOf(err) != scu.CodeConflict {
					t.Errorf("%s by the %s of a %s job: %v, %v", f[0], f[1], state, e.Job.Status, err)
				}
			} else if err != nil || string(e.Job.Status) != want || string(e.Type) != f[0] || e.Follows(j) != nil {
				t.Errorf("%s by the %s of a %s job: %s, %v, %v", f[0], f[1], state, e.Job.Status, err, e.Follows(j))
			}
		}
	}
}

// Whatever entry is made up, only the table's transitions follow a job.
func TestNothingElseFollows(t *testing.T) {
	j := scu.Submission(scu.Job{Class: "cpu"}, time.Now()).Job
	if err := scu.Submission(scu.Job{}, time.Now()).Follows(scu.Job{}); err != nil {
		t.Error(err)
	}
	started, err := j.Start("t1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*scu.Event){
		"an unknown type":       func(e *scu.Event) { e.Type = "halted" },
		"another job":           func(e *scu.Event) { e.Job.ID = scu.NewJobID() },
		"another state":         func(e *scu.Event) { e.Job.Status = scu.Completed },
		"an attempt left out":   func(e *scu.Event) { e.Job.Attempt++ },
		"an attempt repeated":   func(e *scu.Event) { e.Job.Attempt-- },
		"a second submission":   func(e *scu.Event) { e.Type, e.Job.Status = scu.EventSubmitted, scu.Queued },
		"a phase of no attempt": func(e *scu.Event) { e.Type = scu.EventPhase },
	} {
		e := started
		change(&e)
		if err := e.Follows(j); scu.CodeOf(err) != scu.CodeInternal {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Actors that read and append in any order, each with a job as it saw it last, as
// through a slow network: the log takes an entry only after the one that its writer
// read. Whatever they do, the log is a path through the state machine with one end.
func TestRandomInterleavings(t *testing.T) {
	types := []scu.EventType{scu.EventStarted, scu.EventPhase, scu.EventCheckpoint, scu.EventStop, scu.EventHandedBack, scu.EventPaused, scu.EventResumed, scu.EventRetried, scu.EventCompleted, scu.EventFailed, scu.EventCancelled, scu.EventDeleted}
	rapid.Check(t, func(t *rapid.T) {
		var notBefore *time.Time
		if rapid.Bool().Draw(t, "scheduled") {
			later := time.Now().Add(time.Hour)
			notBefore = &later
		}
		log := []scu.Event{scu.Submission(scu.Job{Class: "cpu", NotBefore: notBefore}, time.Now())}
		type actor struct {
			seen    int // entries of the log
			attempt int // that it believes to own
		}
		actors := make([]actor, 4)
		for i := range actors {
			actors[i].seen = 1
		}
		pick := rapid.IntRange(0, len(actors)-1)
		t.Repeat(map[string]func(*rapid.T){
			"read": func(t *rapid.T) { actors[pick.Draw(t, "actor")].seen = len(log) },
			"append": func(t *rapid.T) {
				a := &actors[pick.Draw(t, "actor")]
				kind := rapid.SampledFrom(types).Draw(t, "event")
				before := log[a.seen-1].Job
				e, err := wishes[kind](before, a.attempt)
				if err != nil {
					if scu.CodeOf(err) != scu.CodeConflict {
						t.Fatal(err)
					}
					return
				}
				if a.seen != len(log) { // a rival was faster: the compare-and-set refuses
					return
				}
				log = append(log, e)
				a.seen = len(log)
				if kind == scu.EventStarted {
					a.attempt = e.Job.Attempt
				}
			},
			"": func(t *rapid.T) {
				ends, attempts, retries := 0, 0, 0
				for i, e := range log {
					if i > 0 {
						before := log[i-1].Job
						if err := e.Follows(before); err != nil {
							t.Fatal(err)
						}
						if owners := []scu.EventType{scu.EventPhase, scu.EventHandedBack, scu.EventCompleted}; slices.Contains(owners, e.Type) && before.Status != scu.Running {
							t.Fatalf("%s of a %s job", e.Type, before.Status)
						}
					}
					switch e.Type {
					case scu.EventStarted:
						attempts++
					case scu.EventRetried:
						retries++
						if e.Job.CompletedAt != nil || e.Job.Error != nil || e.Job.Tries != 0 {
							t.Fatalf("a retried job still has its end: %+v", e.Job)
						}
					}
					if e.Job.Attempt != attempts {
						t.Fatalf("attempt %d after %d starts", e.Job.Attempt, attempts)
					}
					if e.Job.Status.Ended() && e.Type != scu.EventDeleted {
						ends++
						if i < len(log)-1 && log[i+1].Type != scu.EventDeleted && (log[i+1].Type != scu.EventRetried || e.Type == scu.EventCompleted) || e.Job.CompletedAt == nil {
							t.Fatalf("%s is entry %d of %d", e.Type, i, len(log))
						}
					}
				}
				if ends > 1+retries {
					t.Fatalf("%d ends after %d retries", ends, retries)
				}
			},
		})
	})
}
