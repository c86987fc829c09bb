package data

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// Chat templates are written for Jinja2 as Transformers sets it up. This file
// gives gonja that set-up, and replaces what gonja does otherwise than Jinja2: the
// methods of str and dict, negative indices, the order of dicts, and a few filters;
// rewrite.go settles the rest.
//
// A template comes with a model and is not trusted: it reads no file, what it takes
// is bounded (limits.go), and it knows no date, so that the same data always gives the
// same tokens.

// today is the date for templates that ask for one: the one that Llama's fall
// back to.
var today = time.Date(2024, 7, 26, 0, 0, 0, 0, time.UTC)

// parseTemplate compiles a chat template.
func parseTemplate(source string) (*exec.Template, error) {
	const name = "/chat_template"
	source, err := rewriteTemplate(source)
	if err != nil {
		return nil, err
	}
	loader, err := loaders.NewMemoryLoader(map[string]string{name: source})
	if err != nil {
		return nil, err
	}
	c := config.New()
	c.KeepTrailingNewline = true // rewriteTemplate took off what Jinja2 takes off
	statements := map[string]parser.ControlStructureParser{"generation": parseGeneration}
	for _, s := range []string{"for", "if", "set", "macro", "call", "filter", "with", "do", "break", "continue"} {
		if p, ok := builtins.ControlStructures.Get(s); ok {
			statements[s] = p
		}
	}
	statements["for"], statements["macro"] = meteredFor(statements["for"]), meteredMacro(statements["macro"])
	filters := exec.NewFilterSet(map[string]exec.FilterFunction{}).Update(builtins.Filters)
	for _, f := range []string{"list", "sort"} {
		if builtin, ok := builtins.Filters.Get(f); ok {
			filters.Update(exec.NewFilterSet(map[string]exec.FilterFunction{f: listed(builtin)}))
		}
	}
	filters.Update(exec.NewFilterSet(map[string]exec.FilterFunction{
		"tojson": toJSON, "trim": trim, "reverse": reverse, "items": items, "dictsort": dictsort,
	}))
	globals := exec.EmptyContext().Update(builtins.GlobalFunctions).Update(exec.NewContext(map[string]any{
		"range":           numbersOf,
		"raise_exception": func(message string) (string, error) { return "", errors.New(message) },
		"strftime_now":    strftime,
	}))
	methods := builtins.Methods
	methods.Str, methods.Dict = strMethods(), dictMethods()
	return recovered(func() (*exec.Template, error) {
		return exec.NewTemplate(name, c, loader, &exec.Environment{
			Filters: filters, Tests: builtins.Tests, Context: globals, Methods: methods,
			ControlStructures: exec.NewControlStructureSet(statements),
		})
	})
}

// recovered turns a panic of the template engine into an error.
func recovered[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	return f()
}

// output is what a template writes, and where {% generation %} blocks lie in it.
type output struct {
	bytes.Buffer
	generated []span
}

func (o *output) Write(b []byte) (int, error) { return o.WriteString(string(b)) }

func (o *output) WriteString(s string) (int, error) {
	if o.Len()+len(s) > maxOutput {
		return 0, errors.New("the template writes more than 64 MiB")
	}
	return o.Buffer.WriteString(s)
}

var _ io.StringWriter = (*output)(nil)

// generation is {% generation %}: what the assistant says. Like Transformers it is
// noticed where it writes to the conversation itself, not inside a macro.
type generation struct {
	at   *tokens.Token
	body *nodes.Wrapper
}

func parseGeneration(p, args *parser.Parser) (nodes.ControlStructure, error) {
	g := &generation{at: p.Current()}
	body, _, err := p.WrapUntil("endgeneration")
	g.body = body
	return g, err
}

func (g *generation) Position() *tokens.Token { return g.at }
func (g *generation) String() string          { return "generation" }

func (g *generation) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	o, top := r.Output.(*output)
	if !top {
		return r.ExecuteWrapper(g.body)
	}
	from := o.Len()
	err := r.ExecuteWrapper(g.body)
	o.generated = append(o.generated, span{from, o.Len()})
	return err
}

// list is a list that knows negative indices.
type list []any

// GetItem implements exec.ItemGetter.
func (l list) GetItem(key any) (*exec.Value, bool) {
	i, ok := key.(int)
	if i < 0 {
		i += len(l)
	}
	if !ok || i < 0 || i >= len(l) {
		return exec.AsValue(nil), false
	}
	return exec.ToValue(l[i]), true
}

// asList makes a list of any list that gonja has.
func asList(v *exec.Value) list {
	l := list{}
	v.Iterate(func(_, _ int, item, _ *exec.Value) bool {
		l = append(l, item.Interface())
		return true
	}, func() {})
	return l
}

// listed is a filter whose result, a list, becomes one of ours.
func listed(f exec.FilterFunction) exec.FilterFunction {
	return func(e *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
		if out := f(e, in, params); out.IsError() || !out.IsList() {
			return out
		} else {
			return exec.AsValue(asList(out))
		}
	}
}

// fromJSON decodes valid JSON for a template: objects keep their order.
func fromJSON(raw []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return decodeValue(d)
}

func decodeValue(d *json.Decoder) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Number:
		if i, err := strconv.Atoi(t.String()); err == nil {
			return i, nil
		}
		return t.Float64()
	case json.Delim:
		if t == '[' {
			l := list{}
			for d.More() {
				v, err := decodeValue(d)
				if err != nil {
					return nil, err
				}
				l = append(l, v)
			}
			_, err := d.Token()
			return l, err
		}
		dict, known := exec.NewDict(), map[string]*exec.Pair{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := decodeValue(d)
			if err != nil {
				return nil, err
			}
			key := k.(string)
			if known[key] == nil {
				known[key] = &exec.Pair{Key: exec.AsValue(key)}
				dict.Pairs = append(dict.Pairs, known[key])
			}
			known[key].Value = exec.AsValue(v) // the last of equal keys, as in Python
		}
		_, err := d.Token()
		return dict, err
	}
	return t, nil
}

func numbersOf(_ *exec.Evaluator, params *exec.VarArgs) (list, error) {
	n := [3]int{0, 0, 1}
	for i, a := range params.Args {
		if i >= len(n) || !a.IsInteger() {
			return nil, errors.New("range takes one to three whole numbers")
		}
		n[i] = a.Integer()
	}
	if len(params.Args) == 1 {
		n[0], n[1] = 0, n[0]
	}
	if len(params.Args) == 0 || n[2] == 0 {
		return nil, errors.New("range takes one to three whole numbers, and a step other than 0")
	}
	l := list{}
	for i := n[0]; n[2] > 0 && i < n[1] || n[2] < 0 && i > n[1]; i += n[2] {
		if len(l) == maxRange {
			return nil, fmt.Errorf("range of more than %d", maxRange)
		}
		l = append(l, i)
	}
	return l, nil
}

// strftime formats today as C's strftime does, for the directives that templates
// use.
func strftime(format string) string {
	layouts := map[byte]string{'d': "02", 'e': "_2", 'b': "Jan", 'B': "January", 'm': "01", 'y': "06", 'Y': "2006", 'H': "15",
		'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'a': "Mon", 'A': "Monday", 'j': "002", 'F': "2006-01-02", 'T': "15:04:05"}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(format, "%")
		b.WriteString(before)
		if !found || after == "" {
			return b.String()
		}
		if layout, ok := layouts[after[0]]; ok {
			b.WriteString(today.Format(layout))
		} else {
			b.WriteByte(after[0]) // %% is %
		}
		format = after[1:]
	}
}

func trim(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	out, err := strip(strings.TrimFunc)(in.String(), nil, params)
	if err != nil {
		return exec.AsValue(err)
	}
	return exec.AsValue(out)
}

func reverse(_ *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	if in.IsString() {
		runes := []rune(in.String())
		slices.Reverse(runes)
		return exec.AsValue(string(runes))
	}
	l := asList(in)
	slices.Reverse(l)
	return exec.AsValue(l)
}

func items(_ *exec.Evaluator, in *exec.Value, _ *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	return exec.AsValue(entries(pairs(in)))
}

// dictsort gives the entries by key, in lower case, as it does by default.
func dictsort(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	if len(params.Args)+len(params.KwArgs) > 0 {
		return exec.AsValue(errors.New("dictsort with settings is not supported"))
	}
	return exec.AsValue(entries(sorted(pairs(in), strings.ToLower)))
}

// sorted sorts entries by what by makes of their keys.
func sorted(all []*exec.Pair, by func(string) string) []*exec.Pair {
	slices.SortStableFunc(all, func(a, b *exec.Pair) int { return strings.Compare(by(a.Key.String()), by(b.Key.String())) })
	return all
}

// isSpace is Python's str.isspace for one character.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// strMethods are Python's, as far as templates use them; any other is an error, since
// gonja's differ from Python's here and there.
func strMethods() *exec.MethodSet[string] {
	type method = exec.Method[string]
	fold := func(f func(string) string) method {
		return func(s string, _ *exec.Value, _ *exec.VarArgs) (any, error) { return f(s), nil }
	}
	// with is a method of one string.
	with := func(f func(s, arg string) any) method {
		return func(s string, _ *exec.Value, a *exec.VarArgs) (any, error) {
			if len(a.Args) != 1 || !a.Args[0].IsString() {
				return nil, errors.New("want one string")
			}
			return f(s, a.Args[0].String()), nil
		}
	}
	methods := map[string]method{
		"strip":        strip(strings.TrimFunc),
		"lstrip":       strip(strings.TrimLeftFunc),
		"rstrip":       strip(strings.TrimRightFunc),
		"split":        split,
		"replace":      replace,
		"lower":        fold(strings.ToLower),
		"upper":        fold(strings.ToUpper),
		"title":        fold(title),
		"capitalize":   fold(capitalize),
		"startswith":   with(func(s, p string) any { return strings.HasPrefix(s, p) }),
		"endswith":     with(func(s, p string) any { return strings.HasSuffix(s, p) }),
		"removeprefix": with(func(s, p string) any { return strings.TrimPrefix(s, p) }),
		"removesuffix": with(func(s, p string) any { return strings.TrimSuffix(s, p) }),
		"count":        with(func(s, p string) any { return strings.Count(s, p) }),
		"find": with(func(s, p string) any {
			i := strings.Index(s, p)
			if i < 0 {
				return i
			}
			return utf8.RuneCountInString(s[:i])
		}),
	}
	for _, name := range []string{"join", "isdigit", "isalpha", "isalnum", "isspace", "isupper", "islower"} {
		if m, ok := builtins.Methods.Str.Get(name); ok {
			methods[name] = m
		}
	}
	return exec.NewMethodSet(methods)
}

// strip is a method that takes what characters to cut; white space where it isn't
// told.
func strip(cut func(string, func(rune) bool) string) exec.Method[string] {
	return func(s string, _ *exec.Value, a *exec.VarArgs) (any, error) {
		set := argument(a, 0, "chars")
		if set == nil || set.IsNil() {
			return cut(s, isSpace), nil
		}
		return cut(s, func(r rune) bool { return strings.ContainsRune(set.String(), r) }), nil
	}
}

// argument is the ith argument, which may also be given by name; nil where it isn't.
func argument(a *exec.VarArgs, i int, name string) *exec.Value {
	if i < len(a.Args) {
		return a.Args[i]
	}
	return a.KwArgs[name]
}

func split(s string, _ *exec.Value, a *exec.VarArgs) (any, error) {
	most := -1
	if v := argument(a, 1, "maxsplit"); v != nil && v.IsInteger() && v.Integer() >= 0 {
		most = v.Integer() + 1
	}
	var parts []string
	switch sep := argument(a, 0, "sep"); {
	case sep == nil || sep.IsNil():
		if most > 0 {
			return nil, errors.New("split by white space takes no limit here")
		}
		parts = strings.FieldsFunc(s, isSpace)
	case sep.String() == "":
		return nil, errors.New("empty separator")
	default:
		parts = strings.SplitN(s, sep.String(), most)
	}
	l := make(list, len(parts))
	for i, p := range parts {
		l[i] = p
	}
	return l, nil
}

func replace(s string, _ *exec.Value, a *exec.VarArgs) (any, error) {
	if len(a.Args) < 2 || !a.Args[0].IsString() || !a.Args[1].IsString() {
		return nil, errors.New("replace wants two strings")
	}
	n := -1
	if len(a.Args) > 2 {
		n = a.Args[2].Integer()
	}
	return strings.Replace(s, a.Args[0].String(), a.Args[1].String(), n), nil
}

// title is str.title: a letter after none is upper case, others are lower.
func title(s string) string {
	inside := false
	return strings.Map(func(r rune) rune {
		was := inside
		inside = unicode.IsLetter(r)
		if was {
			return unicode.ToLower(r)
		}
		return unicode.ToTitle(r)
	}, s)
}

func capitalize(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return strings.ToUpper(s[:n]) + strings.ToLower(s[n:])
}

// dictMethods keep the order of a dict.
func dictMethods() *exec.MethodSet[map[string]any] {
	type method = exec.Method[map[string]any]
	each := func(f func(p *exec.Pair) any) method {
		return func(_ map[string]any, self *exec.Value, _ *exec.VarArgs) (any, error) {
			l := list{}
			for _, p := range pairs(self) {
				l = append(l, f(p))
			}
			return l, nil
		}
	}
	return exec.NewMethodSet(map[string]method{
		"keys":   each(func(p *exec.Pair) any { return p.Key.Interface() }),
		"values": each(func(p *exec.Pair) any { return p.Value.Interface() }),
		"items": func(_ map[string]any, self *exec.Value, _ *exec.VarArgs) (any, error) {
			return entries(pairs(self)), nil
		},
		"get": func(_ map[string]any, self *exec.Value, a *exec.VarArgs) (any, error) {
			if len(a.Args) < 1 || len(a.Args) > 2 {
				return nil, errors.New("get wants a key and a default")
			}
			for _, p := range pairs(self) {
				if p.Key.EqualValueTo(a.Args[0]) {
					return p.Value.Interface(), nil
				}
			}
			if len(a.Args) == 2 {
				return a.Args[1].Interface(), nil
			}
			return nil, nil
		},
	})
}

// entries are pairs as a template sees them.
func entries(all []*exec.Pair) list {
	l := list{}
	for _, p := range all {
		l = append(l, list{p.Key.Interface(), p.Value.Interface()})
	}
	return l
}

// pairs are the entries of a dict in order; those of a Go map by key.
func pairs(v *exec.Value) []*exec.Pair {
	var all []*exec.Pair
	v.Iterate(func(_, _ int, key, value *exec.Value) bool {
		all = append(all, &exec.Pair{Key: key, Value: value})
		return true
	}, func() {})
	return all
}

// toJSON is Python's json.dumps with Transformers' defaults.
func toJSON(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	if in.IsError() {
		return in
	}
	w := jsonWriter{}
	for name, v := range params.KwArgs {
		switch {
		case name == "indent" && v.IsNil():
		case name == "indent" && v.IsInteger() && v.Integer() >= 0 && v.Integer() <= 16:
			w.indent = strings.Repeat(" ", v.Integer())
			w.lines = true
		case name == "ensure_ascii":
			w.ascii = v.IsTrue()
		case name == "sort_keys":
			w.sort = v.IsTrue()
		default:
			return exec.AsValue(fmt.Errorf("tojson doesn't know %s=%s", name, v))
		}
	}
	if len(params.Args) > 0 {
		return exec.AsValue(errors.New("tojson takes its settings by name"))
	}
	if err := w.value(in, "\n"); err != nil {
		return exec.AsValue(err)
	}
	return exec.AsSafeValue(w.b.String())
}

type jsonWriter struct {
	b           strings.Builder
	lines       bool
	indent      string
	ascii, sort bool
}

// value writes v; newline begins a line at the level that v stands on.
func (w *jsonWriter) value(v *exec.Value, newline string) error {
	switch {
	case v.IsNil():
		w.b.WriteString("null")
	case v.IsBool():
		w.b.WriteString(strconv.FormatBool(v.Bool()))
	case v.IsString():
		w.string(v.String())
	case v.IsNumber():
		w.b.WriteString(v.String())
	case v.IsList():
		return w.group('[', ']', v.Len(), newline, func(i int, newline string) error {
			return w.value(exec.ToValue(v.Index(i)), newline)
		})
	case v.IsDict():
		all := pairs(v)
		if w.sort {
			sorted(all, strings.Clone)
		}
		return w.group('{', '}', len(all), newline, func(i int, newline string) error {
			w.string(all[i].Key.String())
			w.b.WriteString(": ")
			return w.value(exec.ToValue(all[i].Value), newline)
		})
	default:
		return fmt.Errorf("tojson can't write %s", v)
	}
	return nil
}

func (w *jsonWriter) group(open, end byte, n int, newline string, item func(i int, newline string) error) error {
	w.b.WriteByte(open)
	inner := newline + w.indent
	for i := range n {
		switch {
		case i > 0 && w.lines:
			w.b.WriteByte(',')
		case i > 0:
			w.b.WriteString(", ")
		}
		if w.lines {
			w.b.WriteString(inner)
		}
		if err := item(i, inner); err != nil {
			return err
		}
	}
	if w.lines && n > 0 {
		w.b.WriteString(newline)
	}
	w.b.WriteByte(end)
	return nil
}

func (w *jsonWriter) string(s string) {
	w.b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			w.b.WriteByte('\\')
			w.b.WriteRune(r)
		case r == '\n':
			w.b.WriteString(`\n`)
		case r == '\r':
			w.b.WriteString(`\r`)
		case r == '\t':
			w.b.WriteString(`\t`)
		case r == '\f':
			w.b.WriteString(`\f`)
		case r == '\b':
			w.b.WriteString(`\b`)
		case r < 0x20 || w.ascii && r > 0x7e && r < 0x10000:
			fmt.Fprintf(&w.b, `\u%04x`, r)
		case w.ascii && r >= 0x10000:
			r -= 0x10000
			fmt.Fprintf(&w.b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			w.b.WriteRune(r)
		}
	}
	w.b.WriteByte('"')
}
