package scu

import (
	"errors"
	"fmt"
	"strings"
)

// Code is the kind of an error, for machines. api maps each code to one
// HTTP status and the command line to one exit code.
type Code string

const (
	CodeInvalid      Code = "invalid"              // the request or its data is wrong; the same request fails again
	CodeUnauthorized Code = "unauthorized"         // no API key, or a wrong one
	CodeForbidden    Code = "forbidden"            // a path, address or action that this server doesn't allow
	CodeNotFound     Code = "not_found"            // no such job, file or adapter
	CodeConflict     Code = "conflict"             // the job's state doesn't allow it: ended already, not done yet
	CodeTooLarge     Code = "too_large"            // over a size limit
	CodeUnsupported  Code = "unsupported"          // a model or format that this build can't do exactly
	CodeCancelled    Code = "cancelled"            // somebody cancelled the job
	CodeUnavailable  Code = "unavailable"          // a part is not reachable now; try again
	CodeTooMany      Code = "too_many"             // more requests, or jobs that wait, than are allowed; try again later
	CodeMemory       Code = "out_of_memory"        // more memory than there is
	CodeStorage      Code = "insufficient_storage" // a disk is full
	CodeDamaged      Code = "damaged"              // stored bytes are lost, or not those that were stored
	CodeInternal     Code = "internal"             // a fault of ours
)

// Error is the one error type at the service's edges. Message tells what is wrong and
// where; Hint tells what to do about it.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"` // path of the config field, as control.Kp
	Hint    string `json:"hint,omitempty"`
	Retry   bool   `json:"retry"` // the same request may succeed later
	Err     error  `json:"-"`     // cause, for logs
}

func (e *Error) Error() string {
	s := e.Message
	if e.Field != "" {
		s = e.Field + ": " + s
	}
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of the given code. A %w operand becomes its cause.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err), Retry: code == CodeUnavailable || code == CodeTooMany}
}

// WithHint returns e with the advice on what to do.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// At returns e with the field it speaks of.
func (e *Error) At(field string) *Error {
	c := *e
	c.Field = field
	return &c
}

// maxText bounds what of an error's text is told and stored, in bytes.
const maxText = 2000

// Brief returns e with each of its texts cut to 2,000 bytes: names from outside may
// be part of them, of whatever length.
func (e *Error) Brief() *Error {
	c := *e
	for _, text := range []*string{&c.Message, &c.Field, &c.Hint} {
		if len(*text) > maxText {
			*text = strings.ToValidUTF8((*text)[:maxText], "") + "..."
		}
	}
	return &c
}

// AsError finds the Error in err's chain; anything else is Internal.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: err.Error(), Err: err}
}

// CodeOf is the code of AsError(err), and "" for nil.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	return AsError(err).Code
}

// Errors are several errors of one request, told at once. AsError gives the first.
type Errors []*Error

func (e Errors) Error() string {
	all := make([]string, len(e))
	for i, x := range e {
		all[i] = x.Error()
	}
	return strings.Join(all, "; ")
}

// Unwrap lets errors.Is and errors.As look at each of them.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, x := range e {
		all[i] = x
	}
	return all
}

// Join returns errs as one error: nil if all are nil, the error itself if there is
// one, and [Errors] if there are more. Errors among them are flattened; anything that
// is no Error is as [AsError] has it.
func Join(errs ...error) error {
	all := AllErrors(errs...)
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	return all
}

// AllErrors lists the errors that errs are made of.
func AllErrors(errs ...error) (all Errors) {
	for _, err := range errs {
		var several Errors
		switch {
		case err == nil:
		case errors.As(err, &several):
			all = append(all, several...)
		default:
			all = append(all, AsError(err))
		}
	}
	return all
}
