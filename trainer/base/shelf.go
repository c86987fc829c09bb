package base

import (
	"slices"
	"sync"
	"time"
)

// maxShelved bounds the models that a Finder keeps open for the next caller. One takes
// its tokenizer's memory, some 100 MB for a vocabulary of 250,000.
const maxShelved = 4

// settled is the age from which on a file's time tells that it isn't being written to:
// file systems count in steps of some milliseconds, and two writes may fall into one.
const settled = time.Second

// shelf keeps opened models for as long as their files stay as they were. Its zero value
// is empty. It is safe for concurrent use.
type shelf struct {
	mu       sync.Mutex
	models   []*shelved // the one used last comes last
	unpacked listing    // the built-in model's files, once they were compared
}

// shelved is a model that its users share. The last one closes it.
type shelved struct {
	key   string
	model *Model
	users int // the shelf is one of them
}

// borrow returns the model of a key, if it is here and unchanged. Its Close gives it back.
func (s *shelf) borrow(key string) *Model {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.models, func(x *shelved) bool { return x.key == key })
	if i < 0 {
		return nil
	}
	x := s.models[i]
	s.models = slices.Delete(s.models, i, i+1)
	if !x.model.Unchanged() {
		s.release(x)
		return nil
	}
	s.models = append(s.models, x)
	return s.lend(x)
}

// put takes in a model that was just opened and returns it as borrow does. One whose
// files were written to a moment ago isn't kept.
func (s *shelf) put(key string, m *Model) *Model {
	if len(m.opened) == 0 || m.opened.newest().After(m.began.Add(-settled)) {
		return m
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.models = slices.DeleteFunc(s.models, func(x *shelved) bool {
		if x.key == key {
			s.release(x)
		}
		return x.key == key
	})
	if len(s.models) == maxShelved {
		s.release(s.models[0])
		s.models = slices.Delete(s.models, 0, 1)
	}
	x := &shelved{key: key, model: m, users: 1}
	s.models = append(s.models, x)
	return s.lend(x)
}

// lend makes a user's own view of a model. For a caller that holds mu.
func (s *shelf) lend(x *shelved) *Model {
	x.users++
	view := *x.model
	view.giveBack = sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.release(x)
	})
	return &view
}

// release ends one use. For a caller that holds mu.
func (s *shelf) release(x *shelved) {
	if x.users--; x.users == 0 {
		x.model.Close()
	}
}

// extracted reports whether dir holds the built-in model as it was when its files were
// last compared.
func (s *shelf) extracted(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.unpacked) > 0 && s.unpacked.still(dir)
}

// compared notes that dir held the built-in model when a call that began then returned.
func (s *shelf) compared(dir string, began time.Time) {
	files, err := list(dir)
	if err != nil || files.newest().After(began.Add(-settled)) {
		files = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unpacked = files
}
