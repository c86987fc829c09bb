package api

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// A browser signs in with a key, once, and is given a cookie that scripts can't read and
// that goes to this site alone. It stands for the key: it has its scope and owner, and no
// longer counts once the key is changed, revoked or expired. No session is stored, so one
// outlives a restart and is good at every API of the service.

const (
	sessionCookie = "scu_session"
	sessionTime   = 30 * 24 * time.Hour
	// pageHeader goes with whatever a signed-in page changes. A page of another origin
	// can't send it unasked.
	pageHeader = "X-Scu-Page"
)

type signInInput struct {
	Body client.SignInRequest
}

type sessionReply struct {
	SetCookie *http.Cookie `header:"Set-Cookie"`
	Body      client.Session
}

// session tells a page whether it has to ask for the key, and what it may do.
func (s *Server) session(ctx context.Context, _ *struct{}) (*reply[client.Session], error) {
	closed, err := s.closed(ctx)
	if err != nil {
		return nil, err
	}
	return answer(sessionOf(callerOf(ctx), closed)), nil
}

func sessionOf(who caller, keyNeeded bool) client.Session {
	return client.Session{KeyNeeded: keyNeeded, SignedIn: who.scope != anyone, Scope: who.scope, Owner: who.owner}
}

func (s *Server) signIn(ctx context.Context, in *signInInput) (*sessionReply, error) {
	if closed, err := s.closed(ctx); err != nil || !closed {
		return &sessionReply{Body: sessionOf(administrator, false)}, err
	}
	who, key, err := s.holder(ctx, in.Body.Key)
	if err != nil {
		return nil, err
	}
	if who.scope == anyone {
		if err := s.keysGone(); err != nil {
			return nil, err
		}
		return nil, scu.Errorf(scu.CodeUnauthorized, "that is no API key of this server").At("key").WithHint("use the SCU_API_KEY that the server was started with, or one that scu keys create made")
	}
	until, token := time.Now().Add(sessionTime), ""
	if key == nil {
		token = newSession(s.o.Key, "", until)
	} else {
		if key.ExpiresAt != nil && key.ExpiresAt.Before(until) {
			until = *key.ExpiresAt
		}
		token = newSession(s.sessionSecret(key.Key), key.ID, until)
	}
	return &sessionReply{SetCookie: cookie(token, int(time.Until(until).Seconds())), Body: sessionOf(who, true)}, nil
}

func (s *Server) signOut(ctx context.Context, _ *struct{}) (*sessionReply, error) {
	closed, err := s.closed(ctx)
	if err != nil {
		return nil, err
	}
	who := administrator
	if closed {
		who = caller{}
	}
	return &sessionReply{SetCookie: cookie("", -1), Body: sessionOf(who, closed)}, nil
}

func cookie(value string, seconds int) *http.Cookie {
	return &http.Cookie{Name: sessionCookie, Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

// sessionSecret is what the sessions of a key of the table are signed with. Its hash alone
// isn't enough: whoever reads the table must not be able to make sessions of it.
func (s *Server) sessionSecret(k scu.Key) string {
	mac := hmac.New(sha256.New, s.sessionRoot)
	mac.Write([]byte("scu session of a key\n" + k.Hash))
	return string(mac.Sum(nil))
}

// session is what a token says: of which key it is, "" for the server's own, and until when
// it is good.
type session struct {
	key   string
	until time.Time
	said  []byte
	sum   []byte // the secret's signature of said
}

// Parts of a token, in bytes: when it ends, a random number, the key's id, and the signature.
const (
	endSize   = 8
	nonceSize = 16
	idSize    = 8
)

// newSession makes a token of a key's session. The server's own key has no id.
func newSession(secret, key string, until time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	nonce := make([]byte, nonceSize)
	rand.Read(nonce)
	b = append(b, nonce...)
	if key != "" {
		id, err := hex.DecodeString(key)
		if err != nil || len(id) != idSize {
			panic("api: a key's id is 16 hex digits")
		}
		b = append(b, id...)
	}
	return base64.RawURLEncoding.EncodeToString(append(b, signature(secret, b)...))
}

// readSession reads a token; whether it is genuine, madeWith says.
func readSession(token string) (x session, ok bool) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	n := len(b) - sha256.Size
	if err != nil || n != endSize+nonceSize && n != endSize+nonceSize+idSize {
		return x, false
	}
	x.said, x.sum = b[:n], b[n:]
	x.key = hex.EncodeToString(x.said[endSize+nonceSize:])
	x.until = time.Unix(int64(binary.BigEndian.Uint64(x.said)), 0)
	return x, true
}

// madeWith reports whether a session was made with a secret and hasn't ended.
func (x session) madeWith(secret string, now time.Time) bool {
	return hmac.Equal(x.sum, signature(secret, x.said)) && now.Before(x.until)
}

func signature(secret string, b []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte("scu session\n"))
	mac.Write(b)
	return mac.Sum(nil)
}

// signedIn is who has signed in on the page that asks. A request that changes something has
// to show that it was the page that asked.
func (s *Server) signedIn(r *http.Request) (caller, *heldKey, error) {
	c, err := r.Cookie(sessionCookie)
	if err != nil || r.Method != http.MethodGet && r.Method != http.MethodHead && r.Header.Get(pageHeader) == "" {
		return caller{}, nil, nil
	}
	x, ok := readSession(c.Value)
	switch {
	case !ok:
		return caller{}, nil, nil
	case x.key == "" && s.o.Key != "" && x.madeWith(s.o.Key, time.Now()):
		return administrator, nil, nil
	case x.key == "":
		return caller{}, nil, nil
	}
	h, err := s.keys.byID(r.Context(), x.key)
	if err != nil || h == nil || !x.madeWith(s.sessionSecret(h.Key), time.Now()) {
		return caller{}, nil, err
	}
	return h.caller(), h, nil
}
