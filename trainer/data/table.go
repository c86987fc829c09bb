package data

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// table gives the rows of CSV or TSV: a header names the keys, and each record's
// fields are strings. A field of "messages", "conversations" or "tools" that is JSON
// counts as what it says.
type table struct {
	records *csv.Reader
	budget  *budget
	header  []string
	report  *Report
	last    int64 // line of the record given last
	stopped bool
}

// separators are tried in this order.
const separators = ",;\t|"

// newTable begins to read a table; false if it is refused. lines has looked at the
// first of it already.
func newTable(lines *lineReader, r io.Reader, report *Report) (*table, bool, error) {
	report.Format = formatCSV
	if !lines.checkStart(report) {
		return nil, false, nil
	}
	if lines.bom {
		if _, err := io.CopyN(io.Discard, r, int64(len(utf8BOM))); err != nil {
			return nil, false, err
		}
	}
	number, first := lines.first()
	if len(first) == 0 {
		report.refuse(Empty, 1, "the file has no row")
		return nil, false, nil
	}
	t := &table{budget: &budget{r: r}, report: report}
	t.records = csv.NewReader(t.budget)
	t.records.ReuseRecord = true
	t.records.Comma = separatorOf(first)
	t.budget.left = maxLine
	header, err := t.records.Read()
	if err != nil {
		return nil, false, t.refuse(number, err)
	}
	for i, k := range header {
		header[i] = strings.TrimSpace(k)
		if i > 0 && slices.Contains(header[:i], header[i]) {
			report.refuse(BadCSV, number, fmt.Sprintf("the header has the column %s twice", clip([]byte(header[i]))))
			return nil, false, nil
		}
	}
	t.header = slices.Clone(header)
	if !hasForm(t.header) {
		report.refuse(MissingField, number, fmt.Sprintf(`the header has none of the columns "text", "prompt" and "completion", "messages", "instruction" and "output", "conversations"; its columns are %s; `+
			`rename them, or name the file .txt to train on it as it is`, clip([]byte(strings.Join(t.header, ", ")))))
		return nil, false, nil
	}
	return t, true, nil
}

// hasForm reports whether rows with these keys have a form.
func hasForm(keys []string) bool {
	has := func(k string) bool { return slices.Contains(keys, k) }
	return slices.ContainsFunc(keys, isForm) || has("instruction") && has("output") || has("conversations")
}

// separatorOf is the separator that gives a header's line columns of a form; a comma
// if none does.
func separatorOf(header []byte) rune {
	for _, c := range separators {
		r := csv.NewReader(bytes.NewReader(header))
		r.Comma, r.LazyQuotes = c, true
		keys, err := r.Read()
		for i := range keys {
			keys[i] = strings.TrimSpace(keys[i])
		}
		if err == nil && hasForm(keys) {
			return c
		}
	}
	return ','
}

func (t *table) next() (row, error) {
	if t.stopped {
		return row{}, io.EOF
	}
	t.budget.left = maxLine
	record, err := t.records.Read()
	number, _ := 0, 0
	if err == nil || errors.Is(err, csv.ErrFieldCount) {
		number, _ = t.records.FieldPos(0)
	}
	var bad *csv.ParseError
	switch {
	case err == io.EOF:
		return row{}, io.EOF
	case err != nil && t.budget.left <= 0:
		t.stopped = true
		return row{number: lineOf(err, t.last+1), refused: refusef(TooLong, "the record has more than 16 MiB; split its text into several, or close its quotes")}, nil
	case errors.Is(err, csv.ErrFieldCount):
		return row{number: int64(number), refused: refusef(BadCSV, "has %d fields, the header %d", len(record), len(t.header))}, nil
	case errors.As(err, &bad):
		return row{number: int64(bad.StartLine), refused: refusef(BadCSV, "%s", badCSV(bad))}, nil
	case err != nil:
		return row{}, err
	}
	t.last = int64(number)
	fields := make(map[string]json.RawMessage, len(record))
	for i, v := range record {
		if kind, why := checkBytes([]byte(v)); kind != "" {
			return row{number: int64(number), refused: refusef(kind, "column %s: %s", clip([]byte(t.header[i])), why)}, nil
		}
		fields[t.header[i]] = cell(t.header[i], v)
	}
	return row{number: int64(number), object: object{fields: fields}}, nil
}

// lineOf is the line that an error speaks of.
func lineOf(err error, otherwise int64) int64 {
	var e *csv.ParseError
	if errors.As(err, &e) {
		return int64(e.StartLine)
	}
	return otherwise
}

// refuse notes why the header can't be read.
func (t *table) refuse(line int64, err error) error {
	var bad *csv.ParseError
	switch {
	case errors.Is(err, errTooLong):
		t.report.refuse(TooLong, line, "the header has more than 16 MiB")
	case errors.As(err, &bad):
		t.report.refuse(BadCSV, line, badCSV(bad))
	case err == io.EOF:
		t.report.refuse(Empty, line, "the file has no row")
	default:
		return err
	}
	return nil
}

func badCSV(e *csv.ParseError) string {
	if errors.Is(e.Err, csv.ErrQuote) || errors.Is(e.Err, csv.ErrBareQuote) {
		return fmt.Sprintf(`a quote stands amid a field at byte %d; a field with quotes goes between quotes, its own doubled ("")`, e.Column)
	}
	return e.Err.Error()
}

// cell is a field as JSON.
func cell(key, v string) json.RawMessage {
	switch key {
	case "messages", "conversations", "tools":
		if raw := bytes.TrimSpace([]byte(v)); len(raw) > 0 && json.Valid(raw) {
			return raw
		}
	}
	return jsonString(v)
}

// jsonString is a string as JSON.
func jsonString(s string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // a string
	}
	return bytes.TrimSpace(b.Bytes())
}

// budget reads until so many bytes are used up.
type budget struct {
	r    io.Reader
	left int
}

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
