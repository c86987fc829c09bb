package hub

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

const (
	maxRedirects = 10
	maxJSON      = 32 << 20 // bytes of an API answer
	userAgent    = "scu"
)

var errRedirect = errors.New("refused redirect")

// call is one request, made as often as redirects and retries need.
type call struct {
	method string
	url    string
	header http.Header      // besides the usual ones
	body   func() io.Reader // a new reader of the whole body; nil for none
	size   int64            // of the body
	noAuth bool             // no token even at the endpoint: presigned links
	// stopAtOther returns a redirect to another origin as the answer. HEAD wants it: the file's
	// etag and size are on the Hub's redirect, not at the storage behind it.
	stopAtOther bool
	// onlyLimits retries nothing but 429: for calls that must not be made twice.
	onlyLimits bool
	// once retries nothing: when the cache will do as well.
	once bool
}

// do makes a call with retries. The answer's status is below 300, or it is a redirect that
// stopAtOther asked for; the caller closes its body.
func (c *Client) do(ctx context.Context, a call) (*http.Response, error) {
	retries := maxRetries
	if a.once {
		retries = 0
	}
	var resp *http.Response
	err := c.retry(ctx, retries, func() (bool, error) {
		var err error
		resp, err = c.send(ctx, a)
		var status *StatusError
		if err != nil && a.onlyLimits && !(errors.As(err, &status) && status.Status == http.StatusTooManyRequests) {
			err = permanent{err}
		}
		return false, err
	})
	return resp, err
}

// send makes a call once, following redirects by itself so that the token stays at home.
func (c *Client) send(ctx context.Context, a call) (*http.Response, error) {
	ctx, watch := c.startWatch(ctx)
	resp, err := c.follow(ctx, a, watch)
	if err != nil {
		watch.stop()
		return nil, err
	}
	resp.Body = &watchedBody{resp.Body, watch}
	return resp, nil
}

// follow makes the request and those that redirects ask for, up to an answer below 300.
func (c *Client) follow(ctx context.Context, a call, watch *watch) (*http.Response, error) {
	client := http.Client{}
	if c.HTTP != nil {
		client = *c.HTTP
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

	at, err := url.Parse(a.url)
	if err != nil || at.Host == "" {
		shown, _, _ := strings.Cut(a.url, "?")
		return nil, fmt.Errorf("%q is not a web address (HF_ENDPOINT is %q)", printable(shown), c.endpoint())
	}
	home, err := url.Parse(c.endpoint())
	if err != nil {
		return nil, fmt.Errorf("HF_ENDPOINT is not an address: %w", err)
	}
	for range maxRedirects {
		if at.Scheme != "https" && (at.Scheme != "http" || home.Scheme != "http") {
			return nil, fmt.Errorf("%s: %w: only https is followed", withoutQuery(at), errRedirect)
		}
		req, err := http.NewRequestWithContext(ctx, a.method, at.String(), nil)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", a.method, withoutQuery(at), err)
		}
		if a.body != nil {
			if req.ContentLength = a.size; a.size > 0 {
				// With GetBody the transport itself repeats what an idle connection's end kept it from sending.
				req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(&watchedReader{a.body(), watch}), nil }
				req.Body, _ = req.GetBody()
			}
		}
		for key, values := range a.header {
			req.Header[key] = values
		}
		req.Header.Set("User-Agent", userAgent)
		req.Header.Set("Accept-Encoding", "identity") // sizes and ranges are of the file itself
		withToken := c.Token != "" && !a.noAuth && sameOrigin(at, home)
		if withToken {
			req.Header.Set("Authorization", "Bearer "+string(c.Token))
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, networkError(req, err)
		}
		watch.moved()
		if resp.StatusCode < 300 {
			return resp, nil
		}
		next, err := redirect(resp)
		if err == nil && next != nil && a.stopAtOther && !sameOrigin(next, at) {
			return resp, nil
		}
		keepsBody := resp.StatusCode == 307 || resp.StatusCode == 308
		if err == nil && (next == nil || a.body != nil && !keepsBody) {
			err = statusError(resp, withToken)
		}
		resp.Body.Close()
		if err != nil {
			return nil, err
		}
		at = next
	}
	return nil, fmt.Errorf("%s %s: %w: more than %d in a row", a.method, withoutQuery(at), errRedirect, maxRedirects)
}

// redirect is where an answer points to; nil when it is no redirect.
func redirect(resp *http.Response) (*url.URL, error) {
	switch resp.StatusCode {
	case 301, 302, 303, 307, 308:
		next, err := resp.Location()
		if err != nil {
			return nil, fmt.Errorf("%s: %w: no valid Location", withoutQuery(resp.Request.URL), errRedirect)
		}
		return next, nil
	}
	return nil, nil
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && port(a) == port(b)
}

func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "https": "443"}[u.Scheme]
}

// networkError describes a request or an answer's body that failed on the way, without the
// URL's query.
func networkError(req *http.Request, err error) error {
	if cause := context.Cause(req.Context()); cause != nil {
		err = cause
	}
	var inURL *url.Error
	if errors.As(err, &inURL) {
		err = inURL.Err
	}
	return fmt.Errorf("%w (%s %s: %w)", ErrUnreachable, req.Method, withoutQuery(req.URL), err)
}

// callJSON posts in as JSON and reads the answer into out (nil: not read).
func (c *Client) callJSON(ctx context.Context, a call, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	a.method = http.MethodPost
	a.body, a.size = func() io.Reader { return bytes.NewReader(body) }, int64(len(body))
	if a.header == nil {
		a.header = http.Header{"Content-Type": {"application/json"}}
	}
	resp, err := c.do(ctx, a)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readJSON(resp, out)
}

func readJSON(resp *http.Response, out any) error {
	if out == nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxJSON+1))
	if err != nil {
		return networkError(resp.Request, err)
	}
	if len(text) > maxJSON {
		err = fmt.Errorf("more than %d bytes", maxJSON)
	} else {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		return fmt.Errorf("the answer of %s is not valid: %w", withoutQuery(resp.Request.URL), err)
	}
	return nil
}
