package api

import (
	"sync"

	"github.com/shannon-control/scu"
)

// pins keeps files from being deleted while a request works on them: between the moment
// that it found them and the entry in the log that names them. It holds for one API;
// deletion through another one in that moment leaves a job that fails for want of its file.
type pins struct {
	mu    sync.Mutex
	held  map[string]int // by file id; counts the requests
	going map[string]bool
}

// pin holds a file until unpin is called.
func (p *pins) pin(id string) (unpin func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.going[id] {
		return nil, scu.Errorf(scu.CodeUnavailable, "file %s is being deleted", id).WithHint("upload it again")
	}
	p.held[id]++
	return sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.held[id]--; p.held[id] == 0 {
			delete(p.held, id)
		}
	}), nil
}

// take claims a file for deletion until done is called; false if a request holds it.
func (p *pins) take(id string) (done func(), ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[id] > 0 || p.going[id] {
		return nil, false
	}
	p.going[id] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.going, id)
	}, true
}
