// Package pyjson reads JSON as Python writes it: with NaN and Infinity, which JSON
// doesn't have.
package pyjson

import "bytes"

// Standard gives JSON in which NaN, Infinity and -Infinity stand as strings of these
// names, so that a field that is used refuses them by its type. Text without them is
// returned as it is. It doesn't check the rest.
func Standard(b []byte) []byte {
	if !bytes.Contains(b, []byte("NaN")) && !bytes.Contains(b, []byte("Infinity")) {
		return b
	}
	out := make([]byte, 0, len(b)+16)
	for i := 0; i < len(b); {
		switch n := special(b[i:]); {
		case n > 0:
			out = append(append(append(out, '"'), b[i:i+n]...), '"')
			i += n
		case b[i] == '"':
			end := i + 1
			for end < len(b) && b[end] != '"' {
				if b[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(b))
			out = append(out, b[i:end]...)
			i = end
		default:
			out = append(out, b[i])
			i++
		}
	}
	return out
}

// special is the length of one of the names that b begins with.
func special(b []byte) int {
	for _, name := range []string{"NaN", "Infinity", "-Infinity"} {
		if bytes.HasPrefix(b, []byte(name)) {
			return len(name)
		}
	}
	return 0
}
