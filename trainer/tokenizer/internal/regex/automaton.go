package regex

import (
	"cmp"
	"errors"
	"slices"
	"unicode/utf8"
)

// Automaton is a regular expression as a deterministic automaton: one table look-up for each character,
// whatever the pattern. It finds what a backtracking engine finds first: of the ways to match at a place,
// the one whose earlier choices are the pattern's earlier alternatives (Pike's threads in order of
// priority, turned into states as in RE2). The characters that a pattern does not tell apart are one
// symbol; the end of the text is a symbol too, so that a look at the next character is a transition.
type Automaton struct {
	ascii [utf8.RuneSelf]uint8
	pages [(utf8.MaxRune + 1) >> 8]*[256]uint8
	end   uint32 // the symbol of the end of the text
	// next [states, symbols] holds, times two, where the row of the next state begins; plus one where a
	// match ends before the symbol. Row 0 leads nowhere.
	next  []uint32
	start uint32 // where the row of the first state begins
}

// Match gives the end of the match that begins at s[i], -1 if there is none. No match is empty.
func (a *Automaton) Match(s string, i int) int {
	end, row := -1, a.start
	for i < len(s) {
		symbol, n := uint32(0), 1
		if c := s[i]; c < utf8.RuneSelf {
			symbol = uint32(a.ascii[c])
		} else {
			var r rune
			r, n = utf8.DecodeRuneInString(s[i:])
			symbol = uint32(a.pages[r>>8][r&0xff])
		}
		to := a.next[row+symbol]
		if to&1 != 0 {
			end = i
		}
		if row = to >> 1; row == 0 {
			return end
		}
		i += n
	}
	if a.next[row+a.end]&1 != 0 {
		end = len(s)
	}
	return end
}

// Next gives the first match at or after s[i]; start is len(s) if there is none.
func (a *Automaton) Next(s string, i int) (start, end int) {
	for i < len(s) {
		if end := a.Match(s, i); end >= 0 {
			return i, end
		}
		_, n := utf8.DecodeRuneInString(s[i:])
		i += n
	}
	return len(s), len(s)
}

// spans cuts all of s.
func (a *Automaton) spans(s string) (list []Span) {
	for i := 0; i < len(s); {
		start, end := a.Next(s, i)
		if start > i {
			list = append(list, Span{i, start, false})
		}
		if end > start {
			list = append(list, Span{start, end, true})
		}
		i = end
	}
	return list
}

// What an automaton may cost to make. The patterns in use stay far below; others run on the engine.
const (
	maxInstructions = 2000
	maxRows         = 2000
	maxSteps        = 1 << 22
	maxSets         = 64 // a bit each
)

var errTooLarge = errors.New("the automaton would be too large")

// newAutomaton makes the automaton of a program whose first instruction is start.
func newAutomaton(program []instruction, start int32) (*Automaton, error) {
	a := &Automaton{}
	takes, symbols, err := a.number(program)
	if err != nil {
		return nil, err
	}
	a.end = uint32(symbols)
	width := symbols + 1

	rows := map[string]uint32{} // by the instructions that wait there, in order of priority
	var waiting [][]int32
	row := func(list []int32) uint32 {
		key := make([]byte, 0, 2*len(list))
		for _, pc := range list {
			key = append(key, byte(pc), byte(pc>>8))
		}
		at, ok := rows[string(key)]
		if !ok {
			at = uint32(len(waiting) * width)
			rows[string(key)] = at
			waiting = append(waiting, slices.Clone(list))
		}
		return at
	}
	row(nil)
	a.start = row([]int32{start})
	seen, listed, steps := make([]int, len(program)), make([]int, len(program)), 0
	var stack, list []int32
	for i := 0; i < len(waiting); i++ {
		if len(waiting) > maxRows {
			return nil, errTooLarge
		}
		for symbol := range width {
			list, stack = list[:0], append(stack[:0], waiting[i]...)
			slices.Reverse(stack)
			mark, matched := i*width+symbol+1, uint32(0)
			for len(stack) > 0 {
				pc := stack[len(stack)-1]
				stack = stack[:len(stack)-1]
				if seen[pc] == mark {
					continue
				}
				seen[pc] = mark
				steps++
				in := &program[pc]
				switch in.op {
				case opMatch:
					matched, stack = 1, stack[:0] // what is left has a lower priority
				case opFork:
					stack = append(stack, in.y, in.x)
				case opLook:
					if symbol == symbols && in.end || symbol < symbols && takes[pc][symbol] {
						stack = append(stack, in.x)
					}
				case opEat:
					if symbol < symbols && takes[pc][symbol] && listed[in.x] != mark {
						listed[in.x] = mark
						list = append(list, in.x)
					}
				}
			}
			if steps > maxSteps {
				return nil, errTooLarge
			}
			a.next = append(a.next, row(list)<<1|matched)
		}
	}
	if slices.ContainsFunc(a.next[a.start:a.start+uint32(width)], func(to uint32) bool { return to&1 != 0 }) {
		return nil, errors.New("the pattern may match nothing at all")
	}
	return a, nil
}

// fill gives the characters from from to to-1 their symbol. Ranges come in order.
func (a *Automaton) fill(from, to rune, symbol uint8) {
	var whole *[256]uint8 // shared by the pages that the range covers
	for from < to {
		page, first := &a.pages[from>>8], int(from&0xff)
		n := min(256-first, int(to-from))
		if n == 256 && whole != nil {
			*page = whole
		} else {
			if *page == nil {
				*page = new([256]uint8)
			}
			for i := range n {
				(*page)[first+i] = symbol
			}
			if n == 256 {
				whole = *page
			}
		}
		from += rune(n)
	}
}

// number gives every character its symbol, and tells for each instruction which symbols it takes.
func (a *Automaton) number(program []instruction) (takes [][]bool, symbols int, err error) {
	type edge struct {
		at  rune
		bit uint64
	}
	var edges []edge
	var sets []Set
	member := make([]int, len(program)) // the set of an instruction
	for pc, in := range program {
		if in.op != opEat && in.op != opLook {
			continue
		}
		k := slices.IndexFunc(sets, func(c Set) bool { return slices.Equal(c, in.set) })
		if k < 0 {
			if k = len(sets); k == maxSets {
				return nil, 0, errTooLarge
			}
			sets = append(sets, in.set)
			for _, r := range in.set {
				edges = append(edges, edge{r.Lo, 1 << k}, edge{r.Hi + 1, 1 << k})
			}
		}
		member[pc] = k
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Compare(a.at, b.at) })
	edges = append(edges, edge{at: utf8.MaxRune + 1})

	numbers := map[uint64]uint8{} // by the sets that hold a character
	var of []uint64               // by symbol
	from, holds := rune(0), uint64(0)
	for _, e := range edges {
		if to := min(e.at, utf8.MaxRune+1); to > from {
			k, ok := numbers[holds]
			if !ok {
				if len(of) == 255 {
					return nil, 0, errTooLarge
				}
				k = uint8(len(of))
				numbers[holds] = k
				of = append(of, holds)
			}
			a.fill(from, to, k)
			from = to
		}
		holds ^= e.bit
	}
	copy(a.ascii[:], a.pages[0][:])
	takes = make([][]bool, len(program))
	for pc, in := range program {
		if in.op == opEat || in.op == opLook {
			takes[pc] = make([]bool, len(of))
			for symbol, holds := range of {
				takes[pc][symbol] = holds>>member[pc]&1 != 0
			}
		}
	}
	return takes, len(of), nil
}
