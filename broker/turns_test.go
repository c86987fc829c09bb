package broker

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/shannon-control/scu"
)

// waitingJob is a job of the model: a queue that is a list.
type waitingJob struct {
	level
	number int
	queued time.Time
}

// modelTurn says by the rule, as it is written down, whose turn it is with a trainer.
func modelTurn(waiting, running []waitingJob, classes []string, served map[string]int) (lane string, ok bool) {
	for _, j := range waiting {
		if !slices.Contains(classes, j.class) {
			continue
		}
		runs := func(lane string) (n int) {
			for _, r := range running {
				if r.lane == lane {
					n++
				}
			}
			return n
		}
		if !ok || cmp.Or(served[j.lane]-served[lane], runs(j.lane)-runs(lane), cmp.Compare(j.lane, lane)) < 0 {
			lane, ok = j.lane, true
		}
	}
	return lane, ok
}

// modelJob says by the rule which job of a lane that is: of each priority the oldest of
// the earliest class, and of these the one that is due first.
func modelJob(waiting []waitingJob, classes []string, lane string, ageing time.Duration) waitingJob {
	var best *waitingJob
	for p := scu.MaxPriority; p >= scu.MinPriority; p-- {
		var first *waitingJob
		for _, class := range classes {
			for i, j := range waiting {
				if first == nil && j.level == (level{class, p, lane}) {
					first = &waiting[i]
				}
			}
		}
		switch {
		case first == nil:
		case best == nil, ageing > 0 && scu.Due(first.queued, p, ageing).Before(scu.Due(best.queued, best.priority, ageing)):
			best = first
		}
	}
	return *best
}

// Whatever is submitted and however many trainers take jobs, each job that is handed out
// is the one of the rule; an owner who waits for a trainer waits for one job of each of
// the others at most; and everything is handed out in the end.
func TestTurnsAreTheRule(t *testing.T) {
	lanes := []string{"", "a", "b", "c"}
	trainers := [][]string{{"cpu"}, {"gpu-24", "gpu-8"}, {"gpu-8"}, {"gpu-8", "gpu-24", "cpu"}}
	rapid.Check(t, func(t *rapid.T) {
		ageing := rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second}).Draw(t, "ageing")
		var mine [4]turns
		var waited [4]map[string]map[string]bool // by trainer, by lane that waits: who was served meanwhile
		for i := range mine {
			mine[i], waited[i] = turns{served: map[string]int{}}, map[string]map[string]bool{}
		}
		var waiting, running []waitingJob
		now, number := time.Unix(1000, 0), 0
		standings := func() []standing {
			var all []standing
			find := func(l level) *standing {
				for i := range all {
					if all[i].level == l {
						return &all[i]
					}
				}
				all = append(all, standing{level: l})
				return &all[len(all)-1]
			}
			for _, j := range waiting {
				if s := find(j.level); s.waiting == 0 {
					s.next, s.waiting = uint64(j.number), 1
				} else {
					s.waiting++
				}
			}
			for _, j := range running {
				find(j.level).claimed++
			}
			return all
		}
		queued := func(s standing) (time.Time, error) {
			for _, j := range slices.Concat(waiting, running) {
				if j.level == s.level && uint64(j.number) >= s.next {
					return j.queued, nil
				}
			}
			return time.Time{}, fmt.Errorf("nothing is queued in %v", s.level)
		}
		take := func(who int) bool {
			all, classes := standings(), trainers[who]
			for _, lane := range mine[who].lanes(all) {
				levels, err := inOrder(ofLane(all, lane), classes, ageing, queued)
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range levels {
					i := slices.IndexFunc(waiting, func(j waitingJob) bool { return j.level == l })
					if i < 0 {
						continue
					}
					wantLane, _ := modelTurn(waiting, running, classes, mine[who].served)
					if want := modelJob(waiting, classes, wantLane, ageing); waiting[i] != want {
						t.Fatalf("trainer %d takes %+v, the rule says %+v of %+v", who, waiting[i], want, waiting)
					}
					for other, served := range waited[who] {
						if other != lane && served[lane] {
							t.Fatalf("trainer %d serves %q again while %q waits", who, lane, other)
						}
						served[lane] = true
					}
					delete(waited[who], lane)
					mine[who].take(lane)
					running = append(running, waiting[i])
					waiting = slices.Delete(waiting, i, i+1)
					return true
				}
			}
			for _, j := range waiting {
				if slices.Contains(classes, j.class) {
					t.Fatalf("trainer %d finds nothing, but %+v waits", who, j)
				}
			}
			return false
		}
		// waits notes for whom each trainer might work, and drops those who have nothing more.
		waits := func() {
			for i, classes := range trainers {
				for _, lane := range lanes {
					has := slices.ContainsFunc(waiting, func(j waitingJob) bool { return j.lane == lane && slices.Contains(classes, j.class) })
					if !has {
						delete(waited[i], lane)
					} else if waited[i][lane] == nil {
						waited[i][lane] = map[string]bool{}
					}
				}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"submit": func(t *rapid.T) {
				l := level{rapid.SampledFrom([]string{"cpu", "gpu-8", "gpu-24"}).Draw(t, "class"),
					rapid.SampledFrom([]int{-100, -1, 0, 1, 100}).Draw(t, "priority"), rapid.SampledFrom(lanes).Draw(t, "lane")}
				number++
				now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "later")) * time.Millisecond)
				waiting = append(waiting, waitingJob{l, number, now})
				waits()
			},
			"take": func(t *rapid.T) { take(rapid.IntRange(0, len(trainers)-1).Draw(t, "trainer")); waits() },
			"end": func(t *rapid.T) {
				if len(running) > 0 {
					i := rapid.IntRange(0, len(running)-1).Draw(t, "job")
					running = slices.Delete(running, i, i+1)
				}
			},
		})
		for range len(waiting) {
			if !take(3) {
				break
			}
		}
		for take(1) {
		}
		if len(waiting) > 0 {
			t.Fatalf("%d jobs are never handed out", len(waiting))
		}
	})
}

// A job is overtaken only by those that come soon enough for their priority.
func TestAgeingBoundsWaiting(t *testing.T) {
	queued, ageing := time.Unix(1000, 0), scu.DefaultAgeing
	low := scu.Due(queued, -100, ageing)
	if late := queued.Add(2 * time.Hour); scu.Due(late, 100, ageing).Before(low) {
		t.Error("a job of priority 100 overtakes one of -100 that has waited for two hours")
	}
	if soon := queued.Add(2*time.Hour - time.Second); !scu.Due(soon, 100, ageing).Before(low) {
		t.Error("a job of priority 100 doesn't overtake one of -100 that has waited for less than two hours")
	}
}
