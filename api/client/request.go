package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/shannon-control/scu"
)

// call sends a request without a body and decodes the answer.
func call[T any](ctx context.Context, c *Client, method, path string) (T, error) {
	return send[T](ctx, c, method, path, http.Header{}, nil)
}

// post sends v as JSON, under an idempotency key unless that is "", and decodes the answer.
func post[T any](ctx context.Context, c *Client, path string, v any, idempotencyKey string) (T, error) {
	body, err := json.Marshal(v)
	if err != nil {
		var none T
		return none, scu.Errorf(scu.CodeInvalid, "the request can't be encoded: %w", err)
	}
	h := http.Header{"Content-Type": {"application/json"}}
	if idempotencyKey != "" {
		h.Set("Idempotency-Key", idempotencyKey)
	}
	return send[T](ctx, c, http.MethodPost, path, h, bytes.NewReader(body))
}

// send sends what body gives, or nothing if it is nil, and decodes the answer.
func send[T any](ctx context.Context, c *Client, method, path string, h http.Header, body io.Reader) (out T, err error) {
	resp, err := c.do(ctx, method, path, h, body)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return out, refused(resp)
	}
	err = decode(resp, &out)
	return out, err
}

// do sends a request. What it answers is the caller's to look at and to close.
func (c *Client) do(ctx context.Context, method, path string, h http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "request %s: %w", path, err)
	}
	if h != nil {
		req.Header = h
	}
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	return resp, nil
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var u *url.Error // its text repeats the method and the address
	if errors.As(err, &u) {
		err = u.Err
	}
	var e *scu.Error // what a body's reader said
	if errors.As(err, &e) {
		return e
	}
	return scu.Errorf(scu.CodeUnavailable, "no answer from %s: %w", c.shown, err).WithHint("is the server running? start it with: scu serve")
}

func decode(resp *http.Response, out any) error {
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		if resp.Request.Context().Err() != nil {
			return resp.Request.Context().Err()
		}
		return notOurs(resp)
	}
	return nil
}

// refused reads why the server refused.
func refused(resp *http.Response) error {
	var body ErrorBody
	err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&body)
	if err != nil || body.Error == nil || body.Error.Code == "" {
		return notOurs(resp)
	}
	if len(body.Errors) > 1 {
		return scu.Errors(body.Errors)
	}
	return body.Error
}

// notOurs is the error of an answer that no scu server gives: a proxy's, say.
func notOurs(resp *http.Response) error {
	code := scu.CodeInternal
	if resp.StatusCode >= 500 {
		code = scu.CodeUnavailable
	}
	return scu.Errorf(code, "%s answered %s, but it is not an scu server", resp.Request.URL.Host, resp.Status).
		WithHint("check the server's address and any proxy in between")
}
