package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
)

func (a *app) natsAuthCommand() *cobra.Command {
	var dir, address string
	var older []string
	c := &cobra.Command{
		Use:   "nats-auth --dir DIR [--older TRAINER] TRAINER...",
		Short: "Write the logins of a NATS server, each with the least rights",
		Long: `Writes, for a NATS server that isn't scu serve's own:

  nats.conf              its users and what each may do: include it, or name it with --config
  nats-operator          the URL for scu api (SCU_NATS_URL_FILE)
  nats-projector         the URL for scu projector
  nats-trainer-TRAINER   the URL for the scu trainer of that name
  nats-reader            a URL for programs that watch live metrics and do nothing else

A trainer's login lets it ask the API for what it needs, in its own
name and those of its further GPUs (TRAINER-2 and on), and nothing else. Trainers of older
versions write to NATS themselves, for which they need rights to end any job: --older
TRAINER writes a login with these, until that trainer is upgraded.

The files hold passwords. What is there already is not written again.`,
		Args: cobra.ArbitraryArgs,
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "folder to write to")
	f.StringSliceVar(&older, "older", nil, "trainers of versions that write to NATS themselves, comma-separated")
	f.StringVar(&address, "address", "127.0.0.1:4222", "host:port of the server, for the URLs; of a cluster's servers, comma-separated")
	required(c, "dir")
	c.RunE = a.run(func(_ context.Context, _ Settings, trainers []string) error {
		if len(trainers)+len(older) == 0 {
			return scu.Errorf(scu.CodeInvalid, "no trainer is named").WithHint("name each that gets a login")
		}
		users := []string{broker.OperatorUser, broker.ProjectorUser, broker.ReaderUser}
		for _, name := range slices.Concat(trainers, older) {
			if !scu.ValidTrainer(name) {
				return scu.Errorf(scu.CodeInvalid, "%q can't name a trainer", name).WithHint("use letters, digits, - and _")
			}
			for _, other := range trainers {
				if other != name && broker.SpeaksFor(other, name) {
					return scu.Errorf(scu.CodeInvalid, "trainer %q is called as a further GPU of trainer %q is", name, other).WithHint("choose another name, as %s", strings.ReplaceAll(name, "-", "_"))
				}
			}
			users = append(users, broker.TrainerUser(name))
		}
		slices.Sort(users)
		return writeLogins(dir, address, slices.Compact(users), func(user string) (publish, subscribe []string, ok bool) {
			for _, name := range older {
				if user == broker.TrainerUser(name) {
					publish, subscribe = broker.DirectRights(name)
					return publish, subscribe, true
				}
			}
			return broker.Rights(user)
		})
	})
	return c
}

// natsUser is a user in a NATS server's configuration.
type natsUser struct {
	User        string           `json:"user"`
	Password    string           `json:"password"`
	Permissions *natsPermissions `json:"permissions,omitempty"` // nil: everything
}

type natsPermissions struct {
	Publish   natsSubjects `json:"publish"`
	Subscribe natsSubjects `json:"subscribe"`
}

// natsSubjects are the subjects that a user may use.
type natsSubjects struct {
	Allow []string `json:"allow,omitempty"`
	Deny  []string `json:"deny,omitempty"`
}

// subjectsOf follows broker.Rights: nil is every subject, an empty list none.
func subjectsOf(allowed []string) natsSubjects {
	switch {
	case allowed == nil:
		return natsSubjects{Allow: []string{">"}}
	case len(allowed) == 0:
		return natsSubjects{Deny: []string{">"}}
	}
	return natsSubjects{Allow: allowed}
}

// writeLogins gives each user a random password and writes the server's configuration
// and a file with each user's URL.
func writeLogins(dir, address string, users []string, rights embedded.Rights) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var config []natsUser
	for _, name := range users {
		publish, subscribe, ok := rights(name)
		if !ok {
			return fmt.Errorf("no rights for %q", name)
		}
		var secret [32]byte
		rand.Read(secret[:])
		u := natsUser{User: name, Password: hex.EncodeToString(secret[:])}
		if publish != nil || subscribe != nil {
			u.Permissions = &natsPermissions{subjectsOf(publish), subjectsOf(subscribe)}
		}
		config = append(config, u)
		login := url.URL{Scheme: "nats", User: url.UserPassword(u.User, u.Password), Host: address}
		file := "nats-" + name
		if err := writeNew(filepath.Join(dir, file), login.String()+"\n"); err != nil {
			return err
		}
	}
	var conf strings.Builder
	e := json.NewEncoder(&conf) // NATS reads JSON, without the escapes that are for HTML
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(map[string]any{"authorization": map[string]any{"users": config}}); err != nil {
		return err
	}
	return writeNew(filepath.Join(dir, "nats.conf"), conf.String())
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
