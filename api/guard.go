package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// Who may ask for what. A server with a key, its own or one of the table, asks for one; one
// without any answers only requests for a loopback Host, which defeats DNS rebinding. A page
// of another origin may not write either way.

// guard finds out who asks, and refuses what they may not.
func (s *Server) guard(next echo.HandlerFunc) echo.HandlerFunc {
	origins := http.NewCrossOriginProtection()
	return func(c echo.Context) error {
		r := c.Request()
		refuse := func(err error) error {
			if scu.CodeOf(err) == scu.CodeUnauthorized {
				c.Response().Header().Set("WWW-Authenticate", bearer)
			}
			var left *refusal
			if err = s.outward(r.Context(), "who asks", err); errors.As(err, &left) {
				write(c.Response(), r, left)
			} else {
				refuseWith(c.Response(), r, scu.AsError(err))
			}
			return nil
		}
		closed, err := s.closed(r.Context())
		needed, isRoute := s.scopes[r.Method+" "+c.Path()]
		open := isRoute && needed == anyone
		if err != nil && !open {
			return refuse(err)
		}
		if err == nil && !closed && !loopbackHost(r.Host) {
			return refuse(errOpen(r.Host))
		}
		if origins.Check(r) != nil {
			return refuse(errOrigin)
		}
		who, key, err := administrator, (*heldKey)(nil), error(nil)
		if closed {
			who, key, err = s.identify(c)
			if tooMany := s.pace(c, who); tooMany != nil {
				return refuse(tooMany)
			}
		}
		switch {
		case open: // whoever asks
		case err != nil:
			return refuse(err)
		case who.scope == anyone:
			return refuse(cmp.Or(s.keysGone(), error(errNoKey)))
		case isRoute && !who.scope.Allows(needed):
			return refuse(scu.Errorf(scu.CodeForbidden, "this needs a key of scope %s; yours has %s", needed, who.scope).
				WithHint("ask the administrator for one: scu keys create --scope %s", needed))
		}
		ctx := withCaller(r.Context(), who)
		if key != nil {
			s.keys.note(key.ID)
			var leave func()
			ctx, leave = until(ctx, key.valid)
			defer leave()
		}
		c.SetRequest(r.WithContext(ctx))
		return next(c)
	}
}

const bearer = `Bearer realm="scu"`

var (
	errOrigin = scu.Errorf(scu.CodeForbidden, "pages from other origins may not change anything").WithHint("call the API from a program or from the server's own pages")
	errNoKey  = scu.Errorf(scu.CodeUnauthorized, "no API key, or a wrong one").WithHint("send Authorization: Bearer <key>; the command line takes it from SCU_API_KEY. If nobody has one any more, make one where the service runs: scu keys create NAME --scope admin, with --data DIR of a stopped serve or the API's --nats-url")
)

// errKeysGone answers everybody where keys were made, none is left, and the server has none
// of its own: whether they were revoked or the table is lost, it isn't open again.
var errKeysGone = scu.Errorf(scu.CodeUnauthorized, "this service had API keys and has none left: their table is lost, or all were revoked").
	WithHint("with the API's login of NATS, or on the data folder, make one: scu keys create NAME --scope admin, and --nats-url URL or --data DIR; or restore NATS's bucket SCU_API_KEYS; or start the server with SCU_API_KEY")

// keysGone is why no key counts, if none does.
func (s *Server) keysGone() error {
	if s.o.Key == "" && s.keys.gone() {
		return errKeysGone
	}
	return nil
}

func errOpen(host string) error {
	return scu.Errorf(scu.CodeForbidden, "without an API key this server answers only requests to localhost, not to %.100q", host).
		WithHint("set SCU_API_KEY on the server, or use http://localhost")
}

// closed reports whether the server asks for a key.
func (s *Server) closed(ctx context.Context) (bool, error) {
	if s.o.Key != "" {
		return true, nil
	}
	return s.keys.any(ctx)
}

// longKey is how many characters make a server's key one that nobody guesses: who shows it
// comes in however many others from the same address, a proxy's say, show wrong ones.
const longKey = 32

// identify finds out who asks; the zero caller is a stranger. key is of the table, nil if it
// is the server's own. An error means that it can't be told now.
func (s *Server) identify(c echo.Context) (who caller, key *heldKey, err error) {
	r := c.Request()
	shown, ok := shownKey(r)
	if !ok {
		return s.signedIn(r)
	}
	if _, ours := scu.KeyID(shown); !ours && s.strangers != nil && len(s.o.Key) < longKey {
		if _, ok := s.strangers.has(neighbourhood(c.RealIP())); !ok { // it may be guessing
			return caller{}, nil, nil
		}
	}
	return s.holder(r.Context(), shown)
}

// pace refuses a request too many: of a key, of an address that shows none, or to sign in.
func (s *Server) pace(c echo.Context, who caller) error {
	h, address := c.Response().Header(), neighbourhood(c.RealIP())
	if c.Request().Method == http.MethodPost && c.Path() == "/session" {
		if left, ok := s.signIns.take(address); !ok {
			return left.refuse(h, "sign-ins from your address")
		}
	}
	switch {
	case who.scope != anyone && s.keyRate != nil:
		left, ok := s.keyRate.take(who.key)
		if left.tell(h); !ok {
			return left.refuse(h, "requests with this key")
		}
	case who.scope == anyone && s.strangers != nil:
		if left, ok := s.strangers.take(address); !ok {
			return left.refuse(h, "requests without a key from your address")
		}
	}
	return nil
}

// holder is who has a key.
func (s *Server) holder(ctx context.Context, shown string) (caller, *heldKey, error) {
	if s.o.Key != "" && sameKey(shown, s.o.Key) {
		return administrator, nil, nil
	}
	h, err := s.keys.find(ctx, shown)
	if err != nil || h == nil {
		return caller{}, nil, err
	}
	return h.caller(), h, nil
}

func (h *heldKey) caller() caller { return caller{key: h.ID, owner: h.Owner, scope: h.Scope} }

// until is a context that ends when a key does.
func until(ctx, valid context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(valid, func() { cancel(context.Cause(valid)) })
	return ctx, func() { stop(); cancel(context.Canceled) }
}

// Guard admits requests with the key; without one, only those for a loopback Host.
func Guard(key string, next http.Handler) http.Handler {
	origins := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		shown, _ := shownKey(r)
		switch {
		case key == "" && !loopbackHost(r.Host):
			refuseWith(w, r, scu.AsError(errOpen(r.Host)))
		case origins.Check(r) != nil:
			refuseWith(w, r, errOrigin)
		case key != "" && !sameKey(shown, key):
			w.Header().Set("WWW-Authenticate", bearer)
			refuseWith(w, r, errNoKey)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// shownKey is the key that a request shows.
func shownKey(r *http.Request) (key string, ok bool) {
	scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return shown, strings.EqualFold(scheme, "Bearer")
}

// sameKey compares in constant time, whatever the lengths.
func sameKey(shown, key string) bool {
	a, b := sha256.Sum256([]byte(shown)), sha256.Sum256([]byte(key))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

func loopbackHost(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// CheckListen refuses an address beyond loopback if there is no key: anyone
// could train there, and read the data folders. It also refuses a key that no
// client could show.
func CheckListen(address, key string) error {
	if err := client.CheckKey(key); err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return scu.Errorf(scu.CodeInvalid, "can't listen on %q: %w", address, err).WithHint("use host:port, such as 127.0.0.1:8000")
	}
	if key == "" && !loopbackHost(net.JoinHostPort(host, "0")) {
		return scu.Errorf(scu.CodeForbidden, "listening on %s without an API key would let anyone in", address).
			WithHint("set SCU_API_KEY, or listen on 127.0.0.1")
	}
	return nil
}
