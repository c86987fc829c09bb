package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// object is a row's fields by name. The values share the row's memory.
type object struct {
	fields map[string]json.RawMessage // those that aren't null
	nulls  []string
	twice  string // a key that the row has more than once: the last counts, as in Python
}

// readObject splits a row, which begins with "{", into its fields.
func readObject(row []byte) (o object, p *refusal) {
	if !json.Valid(row) {
		return o, &refusal{BadJSON, badJSON(row)}
	}
	all := map[string]json.RawMessage{}
	at := 1
	pass := func(n int) []byte { // n bytes and the white space behind them
		b := row[at : at+n]
		for at += n; at < len(row) && strings.IndexByte(spaces, row[at]) >= 0; at++ {
		}
		return b
	}
	for pass(0); row[at] != '}'; {
		var key string
		json.Unmarshal(pass(stringLen(row[at:])), &key) // it is valid
		pass(len(":"))
		if _, known := all[key]; known {
			o.twice = key
		}
		all[key] = pass(valueLen(row[at:]))
		if row[at] == ',' {
			pass(len(","))
		}
	}
	for k, v := range all {
		if string(v) == "null" {
			o.nulls = append(o.nulls, k)
			delete(all, k)
		}
	}
	o.fields = all
	return o, nil
}

// spaces are JSON's.
const spaces = " \t\r\n"

// stringLen is the length of the JSON string that b begins with.
func stringLen(b []byte) int {
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// groupLen is the length of the JSON array or object that b begins with.
func groupLen(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			i += stringLen(b[i:]) - 1
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(b)
}

// valueLen is the length of the JSON value that b, the rest of a valid object,
// begins with.
func valueLen(b []byte) int {
	switch b[0] {
	case '"':
		return stringLen(b)
	case '{', '[':
		return groupLen(b)
	}
	n := 0
	for strings.IndexByte(",}"+spaces, b[n]) < 0 {
		n++
	}
	return n
}

// badJSON says what is wrong with a row that begins with "{".
func badJSON(row []byte) string {
	var any json.RawMessage
	err := json.Unmarshal(row, &any)
	var syntax *json.SyntaxError
	switch {
	case !errors.As(err, &syntax):
		return fmt.Sprintf("bad JSON: %v", err)
	case int(syntax.Offset) >= len(row) && strings.HasPrefix(syntax.Error(), "unexpected end"):
		return fmt.Sprintf("bad JSON: the line ends at byte %d, in the middle of the object", len(row))
	case strings.HasSuffix(syntax.Error(), "after top-level value"):
		return fmt.Sprintf("bad JSON at byte %d: something follows the object; want one object a line and nothing else", syntax.Offset)
	}
	return fmt.Sprintf("bad JSON at byte %d: %s", syntax.Offset, syntax)
}
