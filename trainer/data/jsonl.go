package data

import (
	"bytes"
	"encoding/json"
)

// jsonl gives the rows of JSON lines.
type jsonl struct{ lines *lineReader }

// newJSONL begins to read JSON lines; false if the file is refused.
func newJSONL(lines *lineReader, r *Report) (jsonl, bool) {
	r.Format = formatJSONL
	if !lines.checkStart(r) {
		return jsonl{}, false
	}
	switch number, first := lines.first(); {
	case bytes.HasPrefix(first, []byte("[")):
		r.refuse(BadJSON, number, "the file is one JSON array; write each of its objects on a line of its own (jq -c '.[]')")
		return jsonl{}, false
	case string(first) == "{":
		r.refuse(BadJSON, number, "an object goes over several lines; write each on a line of its own (jq -c .)")
		return jsonl{}, false
	}
	return jsonl{lines}, true
}

func (j jsonl) next() (row, error) {
	for {
		line, err := j.lines.next()
		switch {
		case err == errTooLong:
			return row{number: j.lines.number}, nil
		case err != nil:
			return row{}, err
		case len(bytes.TrimSpace(line)) > 0:
			return row{number: j.lines.number, line: bytes.Clone(line)}, nil
		}
	}
}

// parseLine reads a row's line as an object.
func (r *row) parseLine() (refused *refusal) {
	if r.line == nil {
		return &refusal{TooLong, "the row has more than 16 MiB; split its text into several rows"}
	}
	if kind, why := checkBytes(r.line); kind != "" {
		return &refusal{kind, why}
	}
	line, marked := bytes.CutPrefix(r.line, utf8BOM)
	line, r.marked = bytes.TrimSpace(line), marked
	if !bytes.HasPrefix(line, []byte("{")) {
		if json.Valid(line) {
			return refusef(WrongType, "want an object, got %s", typeOf(line))
		}
		return refusef(BadJSON, "want an object, got %s", clip(line))
	}
	r.object, refused = readObject(line)
	return refused
}
