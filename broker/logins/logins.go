// Package logins writes the users of a NATS server, with what each may do, into files: one
// for the server and one for each user.
package logins

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
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
	return write(dir, logins, func(name string) (password string, err error) {
		password = newPassword()
		return password, writeURLs(dir, address, name, password)
	}, writeNew)
}

// Update writes the server's configuration anew. A user that has a file keeps the password in
// it; another's is made, as Write does. Who has a file and isn't among the logins is no user
// any more, and keeps the file.
func Update(dir, address string, logins []Login) error {
	return write(dir, logins, func(name string) (password string, err error) {
		b, err := os.ReadFile(filepath.Join(dir, File(name)))
		if errors.Is(err, fs.ErrNotExist) {
			password = newPassword()
			return password, writeURLs(dir, address, name, password)
		}
		if err != nil {
			return "", err
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(b)), ",")
		u, err := url.Parse(first)
		if err == nil && u.User.Username() == name {
			password, _ = u.User.Password()
		}
		if password == "" {
			return "", scu.Errorf(scu.CodeInvalid, "%s has no login of user %s", filepath.Join(dir, File(name)), name).WithHint("delete the file to give the user another")
		}
		return password, nil
	}, replace)
}

// write writes the configuration, with the password that each user has.
func write(dir string, logins []Login, password func(user string) (string, error), put func(path, content string) error) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var users []user
	for _, l := range logins {
		secret, err := password(l.User)
		if err != nil {
			return err
		}
		u := user{User: l.User, Password: secret}
		if l.Publish != nil || l.Subscribe != nil {
			u.Permissions = &permissions{only(l.Publish), only(l.Subscribe)}
		}
		users = append(users, u)
	}
	var conf strings.Builder
	e := json.NewEncoder(&conf) // NATS reads JSON, without the escapes that are for HTML
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]any{"authorization": map[string]any{"users": users}}); err != nil {
		return err
	}
	return put(filepath.Join(dir, Config), conf.String())
}

func newPassword() string {
	var secret [32]byte
	rand.Read(secret[:])
	return hex.EncodeToString(secret[:])
}

// writeURLs writes a user's file. NATS's clients take each server's login from its own URL.
func writeURLs(dir, address, name, password string) error {
	var urls []string
	for server := range strings.SplitSeq(address, ",") {
		login := url.URL{Scheme: "nats", User: url.UserPassword(name, password), Host: server}
		urls = append(urls, login.String())
	}
	return writeNew(filepath.Join(dir, File(name)), strings.Join(urls, ",")+"\n")
}

// writeNew writes a file that only this user can read, and refuses to replace one.
func writeNew(path, content string) error {
	err := atomicfile.Create(path, 0o600, []byte(content))
	if errors.Is(err, fs.ErrExist) {
		return scu.Errorf(scu.CodeConflict, "%s is there already", path).WithHint("choose an empty folder with --dir, or change what this one has with --update")
	}
	return err
}

// replace writes a file in one step, with the rights that it had.
func replace(path, content string) error {
	mode := fs.FileMode(0o600)
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	return atomicfile.WriteBytes(path, mode, []byte(content))
}
