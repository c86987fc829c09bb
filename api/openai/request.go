package openai

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// fields are a request's, by name. What is null counts as not given.
type fields map[string]json.RawMessage

// readFields reads a body of JSON.
func readFields(c echo.Context) (fields, error) {
	b, err := io.ReadAll(http.MaxBytesReader(c.Response(), c.Request().Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, scu.Errorf(scu.CodeTooLarge, "the request has more than %d bytes", maxBody)
	}
	if err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "the request broke off: %w", err)
	}
	var f fields
	if err := json.Unmarshal(b, &f); err != nil || f == nil {
		return nil, scu.Errorf(scu.CodeInvalid, "the body is not a JSON object")
	}
	if field, repeated := scu.RepeatedField(b); repeated {
		return nil, scu.Errorf(scu.CodeInvalid, "is given more than once").At(field)
	}
	return f.given(), nil
}

// given is f without what is null.
func (f fields) given() fields {
	maps.DeleteFunc(f, func(_ string, v json.RawMessage) bool { return string(v) == "null" })
	return f
}

// take reads a field into to, and removes it; without it, to stays as it is. want says
// what it has to be.
func (f fields) take(name, want string, to any) error {
	v, ok := f[name]
	if !ok {
		return nil
	}
	delete(f, name)
	if err := json.Unmarshal(v, to); err != nil {
		return scu.Errorf(scu.CodeInvalid, "must be %s", want).At(name)
	}
	return nil
}

// needed reads a text that must be there.
func (f fields) needed(name string, to *string) error {
	if _, ok := f[name]; !ok {
		return scu.Errorf(scu.CodeInvalid, "is missing").At(name)
	}
	return f.take(name, "a string", to)
}

// ignore removes fields that change nothing here.
func (f fields) ignore(names ...string) {
	for _, n := range names {
		delete(f, n)
	}
}

// refuse refuses fields that ask for what isn't there; values in allowed are what is done
// anyway.
func (f fields) refuse(name, why string, allowed ...string) error {
	v, ok := f[name]
	if !ok {
		return nil
	}
	delete(f, name)
	for _, a := range allowed {
		if string(v) == a {
			return nil
		}
	}
	return scu.Errorf(scu.CodeUnsupported, "%s", why).At(name)
}

// rest refuses what is left.
func (f fields) rest() error {
	var errs []error
	for name := range f {
		errs = append(errs, scu.Errorf(scu.CodeInvalid, "unknown field").At(name))
	}
	return scu.Join(errs...)
}

// inside is errors of the fields of an object by their paths from its own.
func inside(object string, errs ...error) error {
	all := scu.AllErrors(errs...)
	for i, e := range all {
		all[i] = e.At(object + "." + e.Field)
	}
	return scu.Join(all)
}
