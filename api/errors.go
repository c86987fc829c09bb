package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/api/openai"
)

// statuses is the one table from error codes to HTTP.
var statuses = map[scu.Code]int{
	scu.CodeInvalid:      http.StatusUnprocessableEntity,
	scu.CodeUnauthorized: http.StatusUnauthorized,
	scu.CodeForbidden:    http.StatusForbidden,
	scu.CodeNotFound:     http.StatusNotFound,
	scu.CodeConflict:     http.StatusConflict,
	scu.CodeTooLarge:     http.StatusRequestEntityTooLarge,
	scu.CodeUnsupported:  http.StatusUnprocessableEntity,
	scu.CodeCancelled:    http.StatusConflict,
	scu.CodeUnavailable:  http.StatusServiceUnavailable,
	scu.CodeTooMany:      http.StatusTooManyRequests,
	scu.CodeMemory:       http.StatusInsufficientStorage,
	scu.CodeStorage:      http.StatusInsufficientStorage,
	scu.CodeDamaged:      http.StatusGone, // clients that wait for a 404 to pass, or try a 500 again, would do so for ever
	scu.CodeInternal:     http.StatusInternalServerError,
}

// codes turns what the HTTP layer itself refuses into the service's words. A
// status that isn't here is invalid below 500, and internal from there on.
var codes = map[int]scu.Code{
	http.StatusUnauthorized:          scu.CodeUnauthorized,
	http.StatusForbidden:             scu.CodeForbidden,
	http.StatusNotFound:              scu.CodeNotFound,
	http.StatusRequestTimeout:        scu.CodeUnavailable,
	http.StatusRequestEntityTooLarge: scu.CodeTooLarge,
	http.StatusUnsupportedMediaType:  scu.CodeUnsupported,
	http.StatusServiceUnavailable:    scu.CodeUnavailable,
	http.StatusTooManyRequests:       scu.CodeTooMany,
}

// refusal is an error on its way out: the body and the status it goes with.
type refusal struct {
	body   client.ErrorBody
	status int
}

func (r *refusal) Error() string                { return r.body.Detail }
func (r *refusal) Unwrap() error                { return r.body.Error }
func (r *refusal) GetStatus() int               { return r.status }
func (r *refusal) MarshalJSON() ([]byte, error) { return json.Marshal(r.body) }

func refuse(status int, all ...*scu.Error) *refusal {
	brief := make(scu.Errors, len(all))
	for i, e := range all {
		brief[i] = e.Brief()
	}
	body := client.ErrorBody{Error: brief[0], Detail: brief.Error()}
	if len(brief) > 1 {
		body.Errors = brief
	}
	return &refusal{body, status}
}

// newError gives huma's errors, and those of the handlers that it passes on, the
// body of this service.
func newError(status int, message string, errs ...error) huma.StatusError {
	if len(errs) == 1 {
		var several scu.Errors
		var one *scu.Error
		switch {
		case errors.As(errs[0], &several):
			return refuse(statuses[several[0].Code], several[:min(len(several), maxProblems)]...)
		case errors.As(errs[0], &one):
			return refuse(statuses[one.Code], one)
		}
	}
	code, ok := codes[status]
	if !ok {
		code = scu.CodeInvalid
		if status >= 500 {
			code = scu.CodeInternal
		}
	}
	var all scu.Errors
	for _, err := range errs {
		var d *huma.ErrorDetail
		if errors.As(err, &d) && len(all) < maxProblems {
			field, text := explain(d)
			all = append(all, scu.Errorf(code, "%s", text).At(field).WithHint("%s", hints[status]))
		}
	}
	if len(all) == 0 {
		all = scu.Errors{scu.Errorf(code, "%s", message).WithHint("%s", hints[status])}
	}
	return refuse(status, all...)
}

// hints say what to do about what the HTTP layer itself refuses.
var hints = map[int]string{
	http.StatusBadRequest:            "send one JSON object",
	http.StatusUnprocessableEntity:   "GET /docs shows what each request takes",
	http.StatusRequestEntityTooLarge: "data belongs into a file: POST /files",
	http.StatusUnsupportedMediaType:  "send Content-Type: application/json",
}

// maxProblems bounds how many problems of one request are told at once.
const maxProblems = 20

var missing = regexp.MustCompile(`^expected required property (\S+) to be present$`)

// bounds are huma's signs in words: JSON writes these signs as \u003e.
var bounds = strings.NewReplacer(" >= ", " of at least ", " <= ", " of at most ", " > ", " above ", " < ", " below ")

// explain puts one of huma's findings into the service's words.
func explain(d *huma.ErrorDetail) (field, text string) {
	field = d.Location
	if kind, rest, ok := strings.Cut(field, "."); ok {
		switch kind {
		case "body", "query", "path", "header":
			field = rest
		}
	} else if field == "body" {
		field = ""
	}
	if m := missing.FindStringSubmatch(d.Message); m != nil {
		if field != "" {
			field += "."
		}
		return field + m[1], "is missing"
	}
	if path, ok := strings.CutSuffix(d.Message, ": "+twice); ok {
		return path, twice
	}
	if d.Message == "unexpected property" {
		return field, "unknown field"
	}
	return field, bounds.Replace(d.Message)
}

// write answers outside huma: from the middleware and the router.
func write(w http.ResponseWriter, req *http.Request, r *refusal) {
	if openai.Owns(req.URL.Path) {
		openai.Refuse(w, r.body.Error)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(r.status)
	json.NewEncoder(w).Encode(r)
}

// refuseWith answers with e outside huma.
func refuseWith(w http.ResponseWriter, r *http.Request, e *scu.Error) {
	write(w, r, refuse(statuses[e.Code], e))
}

// statusLeft is logged and counted for a client that didn't wait for its
// answer, as nginx does: no fault of the server.
const statusLeft = 499

// outward is what of a handler's error goes out. A fault of ours is told to the
// log; its text may hold what is nobody else's business.
func (s *Server) outward(ctx context.Context, what string, err error) error {
	var ended *scu.Error
	if errors.As(context.Cause(ctx), &ended) { // the request's key
		return ended
	}
	if ctx.Err() == context.Canceled {
		return refuse(statusLeft, scu.Errorf(scu.CodeCancelled, "the client left"))
	}
	if errors.Is(err, context.DeadlineExceeded) && scu.CodeOf(err) == scu.CodeInternal {
		return scu.Errorf(scu.CodeUnavailable, "took too long").WithHint("try again")
	}
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	all := scu.AllErrors(err)
	if all[0].Code == scu.CodeInternal {
		s.log.ErrorContext(ctx, "request failed", "operation", what, "err", err)
		return scu.Errorf(scu.CodeInternal, "the server failed").WithHint("its log says why")
	}
	return scu.Join(all)
}
