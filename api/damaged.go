package api

import (
	"fmt"
	"slices"
	"sync"

	"github.com/shannon-control/scu"
)

// damaged is what this API found damaged or lost among the jobs' zips: what it says of a
// job, until a reading finds it whole. Nothing of it is in the log, which says what was
// stored and not what became of it.
type damaged struct {
	mu    sync.Mutex
	found map[string][]scu.AdapterKey // by job
}

// note takes in what a reading of a zip found.
func (d *damaged) note(key scu.AdapterKey, err error) {
	bad := scu.CodeOf(err) == scu.CodeDamaged
	if err != nil && !bad {
		return // it says nothing of the bytes
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(d.found[key.Job]), func(k scu.AdapterKey) bool { return k == key })
	if bad {
		rest = append(rest, key)
	}
	if d.found == nil {
		d.found = map[string][]scu.AdapterKey{}
	}
	if d.found[key.Job] = rest; len(rest) == 0 {
		delete(d.found, key.Job)
	}
}

// warnings are a job's, with what was found.
func (d *damaged) warnings(j scu.Job) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := j.Warnings
	for _, key := range d.found[j.ID] {
		what := "its adapter"
		if key.Step > 0 {
			what = fmt.Sprintf("its checkpoint of step %d", key.Step)
		}
		all = append(slices.Clone(all), what+" is damaged or lost in the store: "+sameAgain)
	}
	return all
}
