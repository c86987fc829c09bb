package api

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// A browser signs in with the key, once, and is given a cookie that scripts can't read and
// that goes to this site alone. It is made of the key, so it outlives a restart, and no longer
// counts if the key is changed.

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

type sessionInput struct {
	Cookie string `cookie:"scu_session"`
}

// session tells a page whether it has to ask for the key.
func (s *Server) session(_ context.Context, in *sessionInput) (*reply[client.Session], error) {
	return answer(client.Session{KeyNeeded: s.o.Key != "", SignedIn: s.o.Key == "" || validSession(in.Cookie, s.o.Key, time.Now())}), nil
}

func (s *Server) signIn(_ context.Context, in *signInInput) (*sessionReply, error) {
	if s.o.Key == "" {
		return &sessionReply{Body: client.Session{SignedIn: true}}, nil
	}
	if !sameKey(in.Body.Key, s.o.Key) {
		return nil, scu.Errorf(scu.CodeUnauthorized, "that isn't the server's API key").At("key").WithHint("it is the SCU_API_KEY that the server was started with")
	}
	until := time.Now().Add(sessionTime)
	return &sessionReply{SetCookie: cookie(newSession(s.o.Key, until), int(sessionTime.Seconds())), Body: client.Session{KeyNeeded: true, SignedIn: true}}, nil
}

func (s *Server) signOut(context.Context, *struct{}) (*sessionReply, error) {
	return &sessionReply{SetCookie: cookie("", -1), Body: client.Session{KeyNeeded: s.o.Key != "", SignedIn: s.o.Key == ""}}, nil
}

func cookie(value string, seconds int) *http.Cookie {
	return &http.Cookie{Name: sessionCookie, Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}

// newSession is a token: when it ends, a random number, and the key's signature of both.
func newSession(key string, until time.Time) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	nonce := make([]byte, 16)
	rand.Read(nonce)
	b = append(b, nonce...)
	return base64.RawURLEncoding.EncodeToString(append(b, signature(key, b)...))
}

// validSession reports whether a token was made with the key and hasn't ended.
func validSession(token, key string, now time.Time) bool {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 8+16+sha256.Size {
		return false
	}
	said, sum := b[:24], b[24:]
	return hmac.Equal(sum, signature(key, said)) && now.Unix() < int64(binary.BigEndian.Uint64(said))
}

func signature(key string, b []byte) []byte {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte("scu session\n"))
	mac.Write(b)
	return mac.Sum(nil)
}

// signedIn reports whether a request comes from a page that has signed in. One that changes
// something has to show that it was the page that asked.
func signedIn(r *http.Request, key string) bool {
	c, err := r.Cookie(sessionCookie)
	if err != nil || !validSession(c.Value, key, time.Now()) {
		return false
	}
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Header.Get(pageHeader) != ""
}
