package jinja

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// ErrLimit is wrapped by the errors of templates that take more than their Limits.
var ErrLimit = errors.New("the template takes too much")

// Error is why a template can't be read or rendered.
type Error struct {
	Line, Column int // where in the template, from 1; columns count characters
	Message      string
	Raised       bool // by the template itself, with raise_exception
	err          error
}

func (e *Error) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

func (e *Error) Unwrap() error { return e.err }

// raised is an error that a template makes with raise_exception.
type raised struct{ message string }

func (r raised) Error() string { return r.message }

// located is an error at a byte of the source.
type located struct {
	at  int
	err error
}

func (l *located) Error() string { return l.err.Error() }
func (l *located) Unwrap() error { return l.err }

// locate says where err arose, unless that is known: the innermost place counts.
func locate(at int, err error) error {
	if err == nil {
		return nil
	}
	if l := (*located)(nil); errors.As(err, &l) {
		return err
	}
	return &located{at, err}
}

func errorAt(at int, format string, args ...any) error {
	return &located{at, fmt.Errorf(format, args...)}
}

// placed gives an error its line and column in source.
func placed(err error, source string) error {
	at := 0
	if l := (*located)(nil); errors.As(err, &l) {
		at = min(l.at, len(source))
	}
	before := source[:at]
	line := strings.LastIndexByte(before, '\n') + 1
	e := &Error{Line: strings.Count(before, "\n") + 1, Column: utf8.RuneCountInString(before[line:]) + 1, Message: err.Error(), err: err}
	e.Raised = errors.As(err, &raised{})
	return e
}
