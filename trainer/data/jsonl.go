package data

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"strings"

	"scu"
)

// maxRemembered bounds the rows among which duplicates are looked for, and with
// them the memory that takes.
const maxRemembered = 1 << 20

// maxUnknownKeys bounds the extra keys that are named.
const maxUnknownKeys = 20

// jsonlReader gives the documents of JSON lines. A row has one of three forms:
// "text"; "prompt" and "completion"; "messages". null counts as absent. Other keys
// are read past, with a warning each.
type jsonlReader struct {
	lines   *lineReader
	options Options
	report  *Report
	unknown map[string]bool
	seed    maphash.Seed
	seen    map[uint64]int64 // hash of a row's fields -> its line
}

func readJSONL(lines *lineReader, o Options, r *Report, emit func(document) error) error {
	r.Format = formatJSONL
	if !lines.checkStart(r) {
		return nil
	}
	switch number, first := lines.first(); {
	case bytes.HasPrefix(first, []byte("[")):
		r.refuse(BadJSON, number, "the file is one JSON array; write each of its objects on a line of its own (jq -c '.[]')")
		return nil
	case string(first) == "{":
		r.refuse(BadJSON, number, "an object goes over several lines; write each on a line of its own (jq -c .)")
		return nil
	}
	j := jsonlReader{lines: lines, options: o, report: r, unknown: map[string]bool{},
		seed: maphash.MakeSeed(), seen: map[uint64]int64{}}
	for {
		line, err := lines.next()
		if err == io.EOF {
			break
		}
		if err != nil && err != errTooLong {
			return err
		}
		if err == nil && len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		r.Rows++
		d, p := document{}, &refusal{TooLong, "the row has more than 16 MiB; split its text into several rows"}
		if err == nil {
			d, p = j.row(line)
		}
		if p != nil {
			r.refuse(p.kind, lines.number, p.why)
			if p.kind == Binary {
				return nil
			}
			continue
		}
		r.Documents++
		if err := emit(d); err != nil {
			return err
		}
	}
	if r.Rows == 0 {
		r.refuse(Empty, 1, "the file has no row")
	}
	return nil
}

// refusal is why a row can't be used.
type refusal struct {
	kind Kind
	why  string
}

func refusef(k Kind, format string, args ...any) *refusal {
	return &refusal{k, fmt.Sprintf(format, args...)}
}

func (j *jsonlReader) row(line []byte) (document, *refusal) {
	if kind, why := checkBytes(line); kind != "" {
		return document{}, &refusal{kind, why}
	}
	line, marked := bytes.CutPrefix(line, utf8BOM)
	line = bytes.TrimSpace(line)
	if !bytes.HasPrefix(line, []byte("{")) {
		if json.Valid(line) {
			return document{}, refusef(WrongType, "want an object, got %s", typeOf(line))
		}
		return document{}, refusef(BadJSON, "want an object, got %s", clip(line))
	}
	o, p := readObject(line)
	if p != nil {
		return document{}, p
	}
	d, p := j.form(o)
	if p != nil {
		return d, p
	}
	d.line, d.begin, d.end, d.row = j.lines.number, true, true, true
	if marked {
		j.report.suspect(Encoding, d.line, "a byte order mark was taken off the row")
	}
	if o.twice != "" {
		j.report.suspect(DuplicateKey, d.line, fmt.Sprintf("has the key %s more than once; the last counts", clip([]byte(o.twice))))
	}
	j.warnUnknown(o.fields)
	j.warnDuplicate(d)
	suspectText(j.report, d.line, d.text)
	return d, nil
}

// form finds which of the three forms a row has, and reads it.
func (j *jsonlReader) form(o object) (document, *refusal) {
	fields := o.fields
	has := func(k string) bool { _, ok := fields[k]; return ok }
	var forms []string
	if has("text") {
		forms = append(forms, `"text"`)
	}
	if has("prompt") || has("completion") {
		forms = append(forms, `"prompt" and "completion"`)
	}
	if has("messages") {
		forms = append(forms, `"messages"`)
	}
	switch {
	case len(forms) == 0 && slices.ContainsFunc(o.nulls, isForm):
		return document{}, refusef(Empty, "%q is null", o.nulls[slices.IndexFunc(o.nulls, isForm)])
	case len(forms) == 0:
		return document{}, refusef(MissingField, `has neither "text", nor "prompt" and "completion", nor "messages"%s%s`, keysOf(fields), otherForm(has))
	case len(forms) > 1:
		return document{}, refusef(Ambiguous, "has %s; want one of them", strings.Join(forms, " as well as "))
	case has("text"):
		text, p := stringField(fields, "text")
		return document{text: text}, p
	case has("messages"):
		return j.conversation(fields)
	}
	prompt, p := stringField(fields, "prompt")
	if p != nil {
		return document{}, p
	}
	completion, p := stringField(fields, "completion")
	d := document{text: prompt + completion}
	if j.options.TrainOn == scu.TrainOnComplete {
		d.counts = []span{{len(prompt), len(d.text)}}
	}
	return d, p
}

// stringField reads a string that isn't blank.
func stringField(fields map[string]json.RawMessage, key string) (string, *refusal) {
	raw, ok := fields[key]
	if !ok {
		return "", refusef(MissingField, "%q is missing", key)
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", refusef(WrongType, "%q is %s, want a string", key, typeOf(raw))
	}
	if blank(s) {
		return "", refusef(Empty, "%q is empty", key)
	}
	return s, nil
}

var knownKeys = []string{"text", "prompt", "completion", "messages", "tools"}

func isForm(key string) bool { return key != "tools" && slices.Contains(knownKeys, key) }

// otherForm says how rows in two widespread forms become ours.
func otherForm(has func(key string) bool) string {
	switch {
	case has("instruction") && has("output"):
		return `; write "instruction" and "input" as "prompt", and "output" as "completion"`
	case has("conversations"):
		return `; write "conversations" of "from" and "value" as "messages" of "role" and "content"`
	}
	return ""
}

func (j *jsonlReader) warnUnknown(fields map[string]json.RawMessage) {
	for _, k := range sortedKeys(fields) {
		if slices.Contains(knownKeys, k) || j.unknown[k] || len(j.unknown) == maxUnknownKeys {
			continue
		}
		j.unknown[k] = true
		j.report.suspect(UnknownKey, j.lines.number, fmt.Sprintf("the key %s is not used, here and in other lines", clip([]byte(k))))
	}
}

func (j *jsonlReader) warnDuplicate(d document) {
	h := maphash.String(j.seed, d.text)
	if first, ok := j.seen[h]; ok {
		j.report.suspect(Duplicate, d.line, fmt.Sprintf("the same as line %d", first))
	} else if len(j.seen) < maxRemembered {
		j.seen[h] = d.line
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
