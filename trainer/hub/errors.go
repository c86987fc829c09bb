package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode"
)

// What can be wrong, for errors.Is. Each text says what to do.
var (
	ErrRepoNotFound     = errors.New("no such repository, or a private one that this token may not see: check the name, and HF_TOKEN if it is private")
	ErrRevisionNotFound = errors.New("the repository has no such branch, tag or commit")
	ErrEntryNotFound    = errors.New("the repository has no such file")
	ErrGated            = errors.New("the repository is gated: accept its conditions on its web page, and set HF_TOKEN to a token of that account")
	ErrUnauthorized     = errors.New("the Hub does not accept the token (missing, wrong or expired): make a new one in the Hub's settings and set HF_TOKEN")
	ErrForbidden        = errors.New("the token's permissions do not allow this: for an upload it needs write access")
	ErrOffline          = errors.New("not in the cache, and offline mode is on (HF_HUB_OFFLINE)")
	ErrUnreachable      = errors.New("the Hub cannot be reached: check the network and HF_ENDPOINT, then try again")
	ErrNoWeights        = errors.New("the repository has no safetensors weights; others (.bin, .h5) are not read: convert them first")
	ErrCorrupt          = errors.New("what was received is not the file that the Hub announced: try again")
	ErrBadName          = errors.New("not a valid name")
)

// StatusError is an answer that says no.
type StatusError struct {
	Method, URL string // without the query, where links carry their signature
	Status      int
	Code        string // X-Error-Code
	Message     string // X-Error-Message
	Kind        error  // one of the Err values, nil when none fits

	retryAfter time.Duration // as the server asked; 0 when it did not
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Status, http.StatusText(e.Status))
	if e.Message != "" {
		s += ": " + e.Message
	}
	if e.Kind != nil {
		return e.Kind.Error() + " (" + s + ")"
	}
	return s
}

func (e *StatusError) Unwrap() error { return e.Kind }

// statusError makes the error of an answer with status 400 or above, or of one that should not
// have been a redirect. withToken reports whether the request carried one.
func statusError(resp *http.Response, withToken bool) *StatusError {
	e := &StatusError{
		Method:     resp.Request.Method,
		URL:        withoutQuery(resp.Request.URL),
		Status:     resp.StatusCode,
		Code:       printable(resp.Header.Get("X-Error-Code")),
		Message:    printable(resp.Header.Get("X-Error-Message")),
		retryAfter: retryAfter(resp.Header),
	}
	if e.Message == "" {
		e.Message = printable(bodyMessage(resp.Body))
	}
	badToken := strings.Contains(e.Message, "Invalid credentials") || strings.Contains(e.Message, "expired")
	switch {
	case e.Status == http.StatusUnauthorized && withToken && (badToken || e.Code == ""):
		e.Kind = ErrUnauthorized
	case e.Code == "GatedRepo":
		e.Kind = ErrGated
	case e.Code == "RevisionNotFound":
		e.Kind = ErrRevisionNotFound
	case e.Code == "EntryNotFound":
		e.Kind = ErrEntryNotFound
	case e.Code == "RepoNotFound", e.Status == http.StatusUnauthorized:
		e.Kind = ErrRepoNotFound // without a token the Hub says 401 of what does not exist
	case e.Status == http.StatusForbidden && withToken:
		e.Kind = ErrForbidden
	}
	return e
}

// bodyMessage is the error text of an API answer's JSON, "" when there is none.
func bodyMessage(body io.Reader) string {
	var answer struct {
		Error  string
		Errors []struct{ Message string }
	}
	if json.NewDecoder(io.LimitReader(body, 64<<10)).Decode(&answer) != nil {
		return ""
	}
	texts := []string{answer.Error}
	for _, e := range answer.Errors {
		texts = append(texts, e.Message)
	}
	return strings.TrimSpace(strings.Join(texts, " "))
}

// definite says that the Hub has answered the question: asking the cache or again is no use.
func definite(err error) bool {
	return errors.Is(err, ErrRevisionNotFound) || errors.Is(err, ErrEntryNotFound)
}

// printable cuts a server's text to one short line.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 300 {
		s = string(runes[:300]) + "..."
	}
	return s
}
