package data

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// refusal is why a row can't be used.
type refusal struct {
	kind Kind
	why  string
}

func refusef(k Kind, format string, args ...any) *refusal {
	return &refusal{k, fmt.Sprintf(format, args...)}
}

// row is a row of the file and what it gives: a document, or why it is refused.
type row struct {
	number  int64  // of its line, or of the row in a file without lines
	line    []byte // of JSON, not blank; nil: too long
	marked  bool   // it began with a byte order mark
	object  object // of a file without JSON it is known from the start
	doc     document
	refused *refusal
	read    bool // marked, object, doc and refused are known
}

// size is about how many bytes the row has.
func (r *row) size() int {
	n := len(r.line)
	for _, v := range r.object.fields {
		n += len(v)
	}
	return n
}

// parse reads the row's document. It depends on the row and the options alone.
func (r *row) parse(ctx context.Context, o Options) {
	if r.refused == nil && r.object.fields == nil {
		r.refused = r.parseLine()
	}
	if r.refused == nil {
		r.doc, r.refused = o.form(ctx, r.object)
		r.doc.line, r.doc.begin, r.doc.end, r.doc.row = r.number, true, true, true
	}
}

func sortedKeys(fields map[string]json.RawMessage) []string {
	keys := make([]string, 0, len(fields))
	for k := range fields {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// keysOf lists a row's keys for a message.
func keysOf(fields map[string]json.RawMessage) string {
	keys := sortedKeys(fields)
	if len(keys) == 0 {
		return ""
	}
	more := ""
	if len(keys) > 5 {
		keys, more = keys[:5], ", ..."
	}
	for i, k := range keys {
		keys[i] = clip([]byte(k))
	}
	return "; its keys are " + strings.Join(keys, ", ") + more
}

// typeOf names the type of a JSON value.
func typeOf(raw []byte) string {
	switch c := raw[0]; {
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '"':
		return "a string"
	case c == 't' || c == 'f':
		return "true or false"
	case c == 'n':
		return "null"
	}
	return "a number"
}

// clip quotes the beginning of what a user wrote.
func clip(b []byte) string {
	const most = 40
	if len(b) > most {
		return fmt.Sprintf("%q...", bytes.ToValidUTF8(b[:most], nil))
	}
	return fmt.Sprintf("%q", b)
}
