package data

import (
	"fmt"
	"sort"
	"strings"

	"github.com/shannon-control/scu"
)

// Kind says for machines what is wrong with a line.
type Kind = scu.DataKind

const (
	BadJSON           Kind = "bad_json"
	BadCSV            Kind = "bad_csv"
	BadParquet        Kind = "bad_parquet"
	WrongType         Kind = "wrong_type"
	MissingField      Kind = "missing_field"
	Ambiguous         Kind = "ambiguous" // more than one form in a row
	Empty             Kind = "empty"
	Encoding          Kind = "encoding"
	Binary            Kind = "binary"
	TooLong           Kind = "too_long"
	Chat              Kind = "chat" // the template can't render a conversation
	ControlCharacters Kind = "control_characters"
	Replacement       Kind = "replacement_characters"
	Duplicate         Kind = "duplicate" // of one of the first 1,048,576 rows
	UnknownKey        Kind = "unknown_key"
	DuplicateKey      Kind = "duplicate_key" // a row has a key twice
	LongRow           Kind = "longer_than_block"
	EncodedApart      Kind = "encoded_apart" // a border lies inside a token
	SecondBegin       Kind = "second_begin_token"
)

// Report describes a file, and grows while it is read.
type Report struct{ scu.DataReport }

// Findings are the lines of one kind.
type Findings = scu.DataFindings

// Finding is one line.
type Finding = scu.DataFinding

// maxListed bounds the lines that a report names of each kind.
const maxListed = 50

func (r *Report) refuse(k Kind, line int64, message string) { note(&r.Refused, k, line, message) }

// countForm notes a row's form, and how a form that isn't ours is read.
func (r *Report) countForm(form string, o Options) {
	if r.Forms == nil {
		r.Forms = map[string]int64{}
	}
	if r.Forms[form]++; r.Forms[form] > 1 {
		return
	}
	switch {
	case form == formAlpaca && o.Template != nil:
		r.Notes = append(r.Notes, `Alpaca rows are read as conversations: "instruction" and "input" are the user's turn, "output" the assistant's`)
	case form == formAlpaca:
		r.Notes = append(r.Notes, `Alpaca rows are read as the prompt published with Alpaca and "output" as its completion, since the model has no chat template`)
	case form == formShareGPT:
		r.Notes = append(r.Notes, `ShareGPT rows are read as "messages"`)
	}
}

// count notes how the data is packed.
func (r *Report) count(d *Dataset) {
	r.Blocks, r.Tokens, r.Targets, r.LeftOut = d.Blocks(), d.tokens, d.targets, d.leftOut
	if r.Rows > 0 {
		r.Packing = d.packing
	}
}

func (r *Report) suspect(k Kind, line int64, message string) { note(&r.Suspicious, k, line, message) }

func note(list *[]Findings, k Kind, line int64, message string) {
	for i := range *list {
		f := &(*list)[i]
		if f.Kind != k {
			continue
		}
		f.Total++
		if len(f.Lines) < maxListed {
			f.Lines = append(f.Lines, Finding{Line: line, Message: message})
		}
		return
	}
	*list = append(*list, Findings{Kind: k, Total: 1, Lines: []Finding{{Line: line, Message: message}}})
}

// err is the refusal with its first lines, or nil.
func (r *Report) err(name string) error {
	var total int64
	var all []Finding
	for _, f := range r.Refused {
		total += f.Total
		all = append(all, f.Lines...)
	}
	if total == 0 {
		return nil
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Line < all[j].Line })
	shown := all[:min(5, len(all))]
	parts := make([]string, len(shown))
	for i, f := range shown {
		parts[i] = fmt.Sprintf("line %d: %s", f.Line, f.Message)
	}
	more := ""
	if n := total - int64(len(shown)); n > 0 {
		more = fmt.Sprintf("; and %d more", n)
	}
	e := scu.Errorf(scu.CodeInvalid, "%s can't be trained on: %s%s", name, strings.Join(parts, "; "), more)
	if r.Format == formatJSONL {
		return e.WithHint(`JSONL has one object a line, with "text", "prompt" and "completion", or "messages"`)
	}
	if r.Format == formatCSV || r.Format == formatParquet {
		return e.WithHint(`its columns are "text", "prompt" and "completion", or "messages"`)
	}
	return e
}

// Warnings are the suspicious lines in short, a sentence for each kind.
func (r *Report) Warnings() []string {
	var w []string
	for _, f := range r.Suspicious {
		numbers := make([]string, 0, 5)
		for _, l := range f.Lines[:min(5, len(f.Lines))] {
			numbers = append(numbers, fmt.Sprint(l.Line))
		}
		s := fmt.Sprintf("data line %d: %s", f.Lines[0].Line, f.Lines[0].Message)
		if f.Total > 1 {
			s += fmt.Sprintf(" (%d lines like it: %s", f.Total, strings.Join(numbers, ", "))
			if f.Total > int64(len(numbers)) {
				s += ", ..."
			}
			s += ")"
		}
		w = append(w, s)
	}
	return w
}
