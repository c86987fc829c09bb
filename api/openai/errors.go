package openai

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/shannon-control/scu"
)

// statuses are those of this API. The official client sends what is answered with 409, or
// with 500 and above, again: only what may succeed then has such a status.
var statuses = map[scu.Code]int{
	scu.CodeInvalid:      http.StatusBadRequest,
	scu.CodeUnsupported:  http.StatusBadRequest,
	scu.CodeConflict:     http.StatusBadRequest,
	scu.CodeCancelled:    http.StatusBadRequest,
	scu.CodeMemory:       http.StatusBadRequest,
	scu.CodeUnauthorized: http.StatusUnauthorized,
	scu.CodeForbidden:    http.StatusForbidden,
	scu.CodeNotFound:     http.StatusNotFound,
	scu.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	scu.CodeUnavailable:  http.StatusServiceUnavailable,
	scu.CodeTooMany:      http.StatusTooManyRequests,
	scu.CodeStorage:      http.StatusInsufficientStorage,
	scu.CodeDamaged:      http.StatusGone, // clients that wait for a 404 to pass, or try a 500 again, would do so for ever
	scu.CodeInternal:     http.StatusInternalServerError,
}

// names are our codes where this API has its own.
var names = map[scu.Code]string{scu.CodeUnauthorized: "invalid_api_key", scu.CodeTooMany: "rate_limit_exceeded"}

// ownCode is a code of this API alone: as the cause of an error it goes before the
// service's.
type ownCode string

func (c ownCode) Error() string { return string(c) }

const (
	jobEnded      ownCode = "job_ended" // what is asked for needs a job that goes on
	modelNotFound ownCode = "model_not_found"
)

// coded returns an error with a code of this API.
func coded(err error, code ownCode) error {
	e := *scu.AsError(err)
	e.Err = code
	return &e
}

// problem is an error as this API tells it.
type problem struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// problemOf is how an error is told, and its status.
func problemOf(err error) (problem, int) {
	e := scu.AsError(err).Brief()
	status, ok := statuses[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	code, known := names[e.Code]
	if !known {
		code = string(e.Code)
	}
	if own := ownCode(""); errors.As(err, &own) {
		code = string(own)
	}
	p := problem{Message: e.Message, Type: "invalid_request_error", Code: &code}
	if status >= 500 {
		p.Type = "server_error"
	}
	if e.Field != "" {
		p.Param = &e.Field
	}
	if e.Hint != "" {
		p.Message += " (" + e.Hint + ")"
	}
	return p, status
}

// Refuse answers with an error in this API's form.
func Refuse(w http.ResponseWriter, err error) {
	p, status := problemOf(err)
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "2")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]problem{"error": p}) // who left needs no answer
}

// renamed gives errors of the service's own API the names of fields that this one has.
func renamed(err error, fields map[string]string) error {
	if err == nil {
		return nil
	}
	all := scu.AllErrors(err)
	for i, e := range all {
		if name, ok := fields[e.Field]; ok {
			all[i] = e.At(name)
		}
	}
	return scu.Join(all)
}
