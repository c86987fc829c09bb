// Package logins writes the users of a NATS server, with what each may do, into files: one
// for the server and one for each user.
package logins

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/shannon-control/scu"
)

// Login is a user of a NATS server.
type Login struct {
	User string
	// Publish and Subscribe are the subjects that it may use: nil is every subject, an
	// empty list none.
	Publish, Subscribe []string
}

// Config is the name of the server's file, and File that of a user's URL.
const Config = "nats.conf"

func File(user string) string { return "nats-" + user }

// user is a user in a NATS server's configuration.
type user struct {
	User        string       `json:"user"`
	Password    string       `json:"password"`
	Permissions *permissions `json:"permissions,omitempty"` // nil: everything
}

type permissions struct {
	Publish   subjects `json:"publish"`
	Subscribe subjects `json:"subscribe"`
}

// subjects are the subjects that a user may use.
type subjects struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
}

func only(allowed []string) subjects {
	switch {
	case allowed == nil:
		return subjects{Allow: []string{">"}}
	case len(allowed) == 0:
		return subjects{Deny: []string{">"}}
	}
	return subjects{Allow: allowed}
}

// Write gives each login a random password and writes, to dir, the server's configuration
// and a file with each user's URL at address: host:port of the server, of a cluster's
// several, comma-separated. Only this user can read them. A file that is there already is
// CodeConflict.
func Write(dir, address string, logins []Login) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var users []user
	for _, l := range logins {
		var secret [32]byte
		rand.Read(secret[:])
		u := user{User: l.User, Password: hex.EncodeToString(secret[:])}
		if l.Publish != nil || l.Subscribe != nil {
			u.Permissions = &permissions{only(l.Publish), only(l.Subscribe)}
		}
		users = append(users, u)
		var urls []string // NATS's clients take each server's login from its own
		for server := range strings.SplitSeq(address, ",") {
			login := url.URL{Scheme: "nats", User: url.UserPassword(u.User, u.Password), Host: server}
			urls = append(urls, login.String())
		}
		if err := writeNew(filepath.Join(dir, File(l.User)), strings.Join(urls, ",")+"\n"); err != nil {
			return err
		}
	}
	var conf strings.Builder
	e := json.NewEncoder(&conf) // NATS reads JSON, without the escapes that are for HTML
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]any{"authorization": map[string]any{"users": users}}); err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, Config), conf.String())
}

// writeNew writes a file that only this user can read, and refuses to replace one.
func writeNew(path, content string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return scu.Errorf(scu.CodeConflict, "%w", err).WithHint("choose an empty folder with --dir")
	}
	if _, err := f.WriteString(content); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
