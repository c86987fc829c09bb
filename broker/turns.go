package broker

import (
	"cmp"
	"slices"
	"time"

	"github.com/shannon-control/scu"
)

// turns decides whose job a trainer takes next: the owner's with waiting jobs whom this
// trainer has not served for longest. So an owner waits for one job each of the others,
// however many they have, and needs nobody to count that but the trainer itself. Of
// owners whom it never served the one with the fewest jobs taken by anybody comes first,
// so that many trainers which start at once don't begin with the same owner.
type turns struct {
	served map[string]int // by lane: the number of the last job that was taken of it; never forgotten, or who comes and goes would be first each time
	count  int            // jobs taken
}

// take notes that a job of a lane was taken.
func (t *turns) take(lane string) {
	t.count++
	t.served[lane] = t.count
}

// standing is a level of the queue as the server tells of it.
type standing struct {
	level
	waiting int    // jobs that were not handed out yet
	claimed int    // jobs that were, and are not done: they run or are to be handed out again
	next    uint64 // the queue's sequence that its next job has at least
}

// lanes lists the lanes that have jobs, in their turn. all are the levels of every class.
func (t *turns) lanes(all []standing) []string {
	claimed := map[string]int{}
	for _, s := range all {
		claimed[s.lane] += s.claimed
	}
	lanes := make([]string, 0, len(claimed))
	for lane := range claimed {
		lanes = append(lanes, lane)
	}
	slices.SortFunc(lanes, func(a, b string) int {
		return cmp.Or(t.served[a]-t.served[b], claimed[a]-claimed[b], cmp.Compare(a, b))
	})
	return lanes
}

// inOrder lists the levels of one lane that may have a job for a trainer, as they are to
// be asked. Each stretch of ageing that a level's next job has waited counts as a point
// of priority; 0 is no ageing. Within a priority the classes come in their order. A level
// that has handed out all its jobs may be given one back: it comes by its oldest.
func inOrder(lane []standing, classes []string, ageing time.Duration, queued func(standing) (time.Time, error)) ([]level, error) {
	lane = slices.DeleteFunc(slices.Clone(lane), func(s standing) bool {
		return s.waiting+s.claimed == 0 || !slices.Contains(classes, s.class)
	})
	slices.SortStableFunc(lane, func(a, b standing) int { return compareLevels(a.level, b.level, classes) })
	type group struct {
		due    time.Time
		levels []level
	}
	var groups []group
	open := map[int]int{} // by priority: the group of the levels where jobs wait
	for _, s := range lane {
		if at, ok := open[s.priority]; ok && s.waiting > 0 {
			groups[at].levels = append(groups[at].levels, s.level)
			continue
		}
		due := time.Unix(0, 0)
		if ageing == 0 {
			due = due.Add(-time.Duration(s.priority))
		} else if len(lane) > 1 {
			at, err := queued(s)
			if err != nil {
				return nil, err
			}
			due = scu.Due(at, s.priority, ageing)
		}
		if s.waiting > 0 {
			open[s.priority] = len(groups)
		}
		groups = append(groups, group{due, []level{s.level}})
	}
	slices.SortStableFunc(groups, func(a, b group) int { return a.due.Compare(b.due) })
	var levels []level
	for _, g := range groups {
		levels = append(levels, g.levels...)
	}
	return levels, nil
}

// compareLevels puts the higher priority first, within one the earlier class.
func compareLevels(a, b level, classes []string) int {
	return cmp.Or(b.priority-a.priority, slices.Index(classes, a.class)-slices.Index(classes, b.class))
}
