package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Reading tokenizer.json. Most of the file is one long vocabulary and one long list of merges, so the
// text is checked once (checkJSON) and then walked in place by a cursor; the small parts are read as
// objects that know their path, ask for every field by name and refuse the fields nobody asked for.

// maxDepth bounds Sequences inside Sequences; published files use two levels.
const maxDepth = 16

// maxID is the highest token id taken. The largest published vocabularies have about 300,000 entries;
// the tables indexed by id stay small enough for a file that lies.
const maxID = 1<<21 - 1

func checkJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("not UTF-8 text")
	}
	if !json.Valid(data) {
		var whole json.RawMessage
		return fmt.Errorf("not JSON: %w", json.Unmarshal(data, &whole)) // which says where the text breaks
	}
	return nil
}

// cursor walks over JSON text that checkJSON has accepted.
type cursor struct {
	s string
	i int
}

// peek skips white space and gives the next byte, 0 at the end.
func (c *cursor) peek() byte {
	for ; c.i < len(c.s); c.i++ {
		switch c.s[c.i] {
		case ' ', '\t', '\n', '\r':
		default:
			return c.s[c.i]
		}
	}
	return 0
}

// next enters an object or array (at its opening bracket) or goes on after a value, and reports
// whether another element follows.
func (c *cursor) next() bool {
	switch c.peek() {
	case '{', '[', ',':
		c.i++
		switch c.peek() {
		case '}', ']':
			c.i++
			return false
		}
		return true
	}
	c.i++ // the closing bracket
	return false
}

// key reads an object's key and the colon after it.
func (c *cursor) key() string {
	k := unquote(c.value())
	c.peek()
	c.i++
	return k
}

// value skips one value and gives its text.
func (c *cursor) value() string {
	first := c.peek()
	start := c.i
	switch first {
	case '"':
		c.skipString()
	case '{', '[':
		c.skipNested()
	default:
		for c.i < len(c.s) && strings.IndexByte(",:]} \t\n\r", c.s[c.i]) < 0 {
			c.i++
		}
	}
	return c.s[start:c.i]
}

// skipNested goes over an object or array. Most of what stands in long ones is strings and white space.
func (c *cursor) skipNested() {
	for depth := 0; c.i < len(c.s); {
		switch c.s[c.i] {
		case '"':
			c.skipString()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				c.i++
				return
			}
		}
		c.i++
	}
}

func (c *cursor) skipString() {
	for c.i++; c.i < len(c.s); c.i++ {
		switch c.s[c.i] {
		case '\\':
			c.i++
		case '"':
			c.i++
			return
		}
	}
}

// unquote gives the string that JSON text v spells, and v itself when it spells none.
func unquote(v string) string {
	if len(v) < 2 || v[0] != '"' {
		return v
	}
	if !strings.Contains(v, `\`) {
		return v[1 : len(v)-1]
	}
	var s string
	if json.Unmarshal([]byte(v), &s) != nil {
		return v
	}
	return s
}

// parseID reads a token id.
func parseID(text string) (int32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil || id > maxID {
		return 0, fmt.Errorf("%.40s is no token id (want an integer from 0 to %d)", text, maxID)
	}
	return int32(id), nil
}

// object is one JSON object of the file. Its getters note the first error instead of returning it;
// done gives it, or names a field that no getter asked for.
type object struct {
	path   string
	depth  int
	fields map[string]string
	asked  []string
	err    error
}

func newObject(path string, depth int, text string) *object {
	o := &object{path: path, depth: depth, fields: map[string]string{}}
	c := cursor{s: text}
	if c.peek() != '{' {
		o.err = fmt.Errorf("%s: want an object, got %.40s", path, text)
		return o
	}
	for c.next() {
		k := c.key()
		o.fields[k] = c.value()
	}
	return o
}

func (o *object) fail(field, format string, args ...any) {
	if o.err == nil {
		o.err = fmt.Errorf("%s.%s: %w", o.path, field, fmt.Errorf(format, args...))
	}
}

// raw gives a field's text, "" where it is absent or null.
func (o *object) raw(name string) string {
	o.asked = append(o.asked, name)
	if v := o.fields[name]; v != "null" {
		return v
	}
	return ""
}

// read decodes a field into dst and reports whether it is there.
func (o *object) read(name, want string, dst any) bool {
	v := o.raw(name)
	if v == "" {
		return false
	}
	if json.Unmarshal([]byte(v), dst) != nil {
		o.fail(name, "want %s, got %.40s", want, v)
		return false
	}
	return true
}

func (o *object) missing(name string) {
	o.fail(name, "missing")
}

func (o *object) bool(name string) (v bool) {
	if !o.read(name, "true or false", &v) {
		o.missing(name)
	}
	return v
}

func (o *object) boolOr(name string, v bool) bool {
	o.read(name, "true or false", &v)
	return v
}

func (o *object) string(name string) (v string) {
	if !o.read(name, "a string", &v) {
		o.missing(name)
	}
	return v
}

func (o *object) stringOr(name, v string) string {
	o.read(name, "a string", &v)
	return v
}

// maxAffix bounds what the file can put into a text at every match or character, so that a short text
// cannot become a huge one.
const maxAffix = 256

// short is a string of at most maxAffix bytes, "" where it is absent and that is allowed.
func (o *object) short(name string, required bool) (v string) {
	if !o.read(name, "a string", &v) && required {
		o.missing(name)
	}
	if len(v) > maxAffix {
		o.fail(name, "%d bytes; at most %d are supported", len(v), maxAffix)
	}
	return v
}

// char is a string of exactly one character.
func (o *object) char(name string) string {
	v := o.string(name)
	if o.err == nil && utf8.RuneCountInString(v) != 1 {
		o.fail(name, "want one character, got %q", v)
	}
	return v
}

func (o *object) count(name string) int {
	var v uint32
	if !o.read(name, "a count", &v) {
		o.missing(name)
	}
	return int(min(v, 1<<30))
}

// kind is the value of "type".
func (o *object) kind() string { return o.string("type") }

// child reads a field that holds an object; nil where it is absent or null.
func (o *object) child(name string) *object {
	v := o.raw(name)
	if v == "" {
		return nil
	}
	return o.sub(name, v)
}

func (o *object) sub(name, text string) *object {
	path := o.path + "." + name
	if o.depth >= maxDepth {
		return &object{path: path, err: fmt.Errorf("%s: more than %d levels deep", path, maxDepth)}
	}
	return newObject(path, o.depth+1, text)
}

// children reads a field that holds an array of objects.
func (o *object) children(name string) (list []*object) {
	v := o.raw(name)
	c := cursor{s: v}
	if c.peek() != '[' {
		o.fail(name, "want an array")
		return nil
	}
	for c.next() {
		list = append(list, o.sub(fmt.Sprintf("%s[%d]", name, len(list)), c.value()))
	}
	return list
}

// ignore marks fields that change no id and no text.
func (o *object) ignore(names ...string) { o.asked = append(o.asked, names...) }

// unsupported is the error for a type this package does not know.
func (o *object) unsupported(kind string) error {
	if o.err != nil {
		return o.err
	}
	return fmt.Errorf("%s.type: %q is not supported", o.path, kind)
}

// finish ends the reading of a child, whose error becomes o's.
func (o *object) finish(child *object) {
	if err := child.done(); err != nil && o.err == nil {
		o.err = err
	}
}

// done ends the reading of o.
func (o *object) done() error {
	if o.err != nil {
		return o.err
	}
	for _, name := range slices.Sorted(maps.Keys(o.fields)) {
		if !slices.Contains(o.asked, name) {
			return fmt.Errorf("%s.%s: unknown field; it may change the ids, so it is refused", o.path, name)
		}
	}
	return nil
}
