package jinja

// scope holds the names of a part of a template: a loop's round, a macro's call. A
// name that isn't in it is looked for in the scope around.
type scope struct {
	names  map[string]any
	around *scope
}

func (s *scope) get(n string) (any, bool) {
	for ; s != nil; s = s.around {
		if v, ok := s.names[n]; ok {
			return v, true
		}
	}
	v, ok := globals[n]
	return v, ok
}

func (s *scope) set(n string, v any) {
	if s.names == nil {
		s.names = map[string]any{}
	}
	s.names[n] = v
}

func (s *scope) inner() *scope { return &scope{around: s} }
