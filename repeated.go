package scu

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// RepeatedField finds the first field that an object of a valid JSON text has more than once, by its
// path, as lora.r or jobs[2].priority. Readers of JSON pass over all but the last in silence.
func RepeatedField(text []byte) (path string, repeated bool) {
	s := jsonScan{text: string(text)}
	path = s.value()
	return strings.TrimPrefix(path, "."), path != ""
}

// jsonScan reads a valid JSON text, up to a byte of it.
type jsonScan struct {
	text string
	at   int
}

// value reads a value, as far as the first field that it has more than once, and returns that as it
// stands after the path of the value: .r, or [2].priority. "" if there is none.
func (s *jsonScan) value() (repeated string) {
	switch s.next() {
	case '{':
		s.at++
		for seen := map[string]bool{}; s.next() != '}'; {
			name := s.name()
			if seen[name] {
				return "." + name
			}
			seen[name] = true
			if repeated = s.value(); repeated != "" {
				return "." + name + repeated
			}
		}
		s.at++
	case '[':
		s.at++
		for i := 0; s.next() != ']'; i++ {
			if repeated = s.value(); repeated != "" {
				return "[" + strconv.Itoa(i) + "]" + repeated
			}
		}
		s.at++
	case '"':
		s.quoted()
	default: // a number, or a word
		if n := strings.IndexAny(s.text[s.at:], ",]} \t\r\n"); n >= 0 {
			s.at += n
		} else {
			s.at = len(s.text)
		}
	}
	return ""
}

// next goes on to what isn't space or punctuation between values, and returns its first byte.
func (s *jsonScan) next() byte {
	for strings.IndexByte(" \t\r\n,:", s.text[s.at]) >= 0 {
		s.at++
	}
	return s.text[s.at]
}

// quoted reads a string and returns what is between its quotes.
func (s *jsonScan) quoted() string {
	begin := s.at + 1
	for s.at = begin; s.text[s.at] != '"'; s.at++ {
		if s.text[s.at] == '\\' {
			s.at++
		}
	}
	s.at++
	return s.text[begin : s.at-1]
}

// name reads a string as package json does.
func (s *jsonScan) name() string {
	raw := s.quoted()
	if strings.Contains(raw, `\`) || !utf8.ValidString(raw) {
		var plain string
		if json.Unmarshal([]byte(`"`+raw+`"`), &plain) == nil {
			return plain
		}
	}
	return raw
}
