package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// keeper makes, lists and revokes API keys: a server, or this process on a data folder or
// with a login of NATS.
type keeper interface {
	CreateKey(ctx context.Context, r client.KeyRequest) (client.NewAPIKey, error)
	Keys(ctx context.Context) (client.APIKeyList, error)
	RevokeKey(ctx context.Context, id string) (client.DeleteResponse, error)
}

func (a *app) keysCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "keys",
		Short: "API keys with owners, scopes and limits",
		Long: `Makes, lists and revokes API keys, on a server with an administrator's key. With --data
it does so without one, in the data folder of a scu serve that is stopped (or was
started with --nats-listen), and with --nats-url where the roles run apart.

That also is the way back in if nobody knows an administrator's key any more.

  scu keys create laptop --owner ada --scope submit
  scu keys create root --scope admin --data scu-data
  scu keys revoke ID`,
		Args: cobra.ArbitraryArgs, RunE: onlySubcommands,
	}
	create, list, revoke := a.createKeyCommand(), a.listKeysCommand(), a.revokeKeyCommand()
	for _, sub := range []*cobra.Command{create, list, revoke} {
		addFlags(sub.Flags(), []string{"data", "nats-url"})
		c.AddCommand(sub)
	}
	return c
}

func (a *app) createKeyCommand() *cobra.Command {
	var req client.KeyRequest
	var scope, expires string
	c := &cobra.Command{
		Use: "create NAME", Short: "Make a key, and show it once", Args: cobra.ExactArgs(1),
		RunE: a.keeps(func(ctx context.Context, k keeper, args []string) (err error) {
			req.Name, req.Scope = args[0], scu.Scope(scope)
			if req.ExpiresAt, err = expiry(expires, time.Now()); err != nil {
				return err
			}
			made, err := k.CreateKey(ctx, req)
			if err != nil {
				return err
			}
			return a.done(made, fmt.Sprintf("Key made: %s\nThe key, which isn't shown again: %s", made.ID, made.Key))
		}),
	}
	f := c.Flags()
	f.StringVar(&req.Owner, "owner", "", "whose jobs and files it is for; only a key of scope admin may have none")
	f.StringVar(&scope, "scope", "", "read: look at what the owner has; submit: make and change it too; admin: everything, of everybody")
	f.StringVar(&expires, "expires", "", "when it stops to count: a date (2027-01-31), a time (RFC 3339), or so long from now (36h, 90d); default never")
	f.IntVar(&req.Limits.Queued, "max-queued", 0, "how many of the owner's jobs may wait, instead of the server's owner-max-queued")
	f.IntVar(&req.Limits.Running, "max-running", 0, "how many may run at once, instead of owner-max-running")
	f.IntVar(&req.Limits.Files, "max-files", 0, "how many files the owner may keep, instead of owner-max-files")
	f.Int64Var(&req.Limits.Bytes, "max-bytes", 0, "how many bytes of files the owner may keep, instead of owner-max-bytes")
	required(c, "scope")
	completes(c, "scope", cobra.FixedCompletions([]string{"read", "submit", "admin"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// expiry reads when a key expires; nil if it never does.
func expiry(text string, now time.Time) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if at, err := time.Parse(form, text); err == nil {
			return &at, nil
		}
	}
	var at time.Time
	var days int
	if n, err := fmt.Sscanf(text, "%dd", &days); n == 1 && err == nil && fmt.Sprintf("%dd", days) == text {
		at = now.AddDate(0, 0, days)
		return &at, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "--expires: %.40q is neither a date, a time nor a duration", text).WithHint("as 2027-01-31, 2027-01-31T12:00:00Z, 36h or 90d")
	}
	at = now.Add(d)
	return &at, nil
}

func (a *app) listKeysCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List keys: how each begins, whose it is, when it was last used", Args: cobra.NoArgs,
		RunE: a.keeps(func(ctx context.Context, k keeper, _ []string) error {
			l, err := k.Keys(ctx)
			if err != nil {
				return err
			}
			return printList(a, l, "keys", "ID\tNAME\tOWNER\tSCOPE\tBEGINS\tCREATED\tEXPIRES\tLAST USED\tLIMITS", l.Keys, keyRow)
		}),
	}
}

func keyRow(k client.APIKey) string {
	day := func(t *time.Time) string {
		if t == nil {
			return "never"
		}
		return t.Local().Format("2006-01-02 15:04")
	}
	expires := day(k.ExpiresAt)
	if k.Expired {
		expires = "expired"
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", k.ID, shorten(k.Name, longestName), cmp.Or(k.Owner, "-"), k.Scope, k.Prefix, day(&k.CreatedAt), expires, day(k.LastUsed), limitsText(k.Limits))
}

// limitsText tells the limits that a key has.
func limitsText(l scu.Limits) string {
	var parts []string
	for _, x := range []struct {
		what string
		most int64
	}{{"queued", int64(l.Queued)}, {"running", int64(l.Running)}, {"files", int64(l.Files)}, {"bytes", l.Bytes}} {
		if x.most > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", x.what, x.most))
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

func (a *app) revokeKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use: "revoke ID", Short: "Revoke a key: its sessions and what it has open end at once", Args: cobra.ExactArgs(1),
		RunE: a.keeps(func(ctx context.Context, k keeper, args []string) error {
			res, err := k.RevokeKey(ctx, args[0])
			if err != nil {
				return err
			}
			return a.done(res, res.Message)
		}),
	}
}

// keeps makes the function of a command about keys. What the flags name goes before the
// server.
func (a *app) keeps(f func(ctx context.Context, k keeper, args []string) error) func(*cobra.Command, []string) error {
	return a.run(func(ctx context.Context, s Settings, args []string) error {
		if s.from["data"] != "--data" && s.from["nats-url"] != "--nats-url" {
			api, err := client.New(s.APIURL, s.APIKey)
			if err != nil {
				return err
			}
			return f(ctx, api, args)
		}
		if s.from["nats-url"] != "--nats-url" {
			s.NATSURL = ""
			if _, err := os.Stat(s.Data); err != nil {
				return scu.Errorf(scu.CodeNotFound, "the data folder: %w", err).WithHint("name that of a scu serve with --data")
			}
		}
		s.LogLevel, s.LogsDir = "error", ""
		p, err := newProcess(ctx, "keys", s)
		if err != nil {
			return err
		}
		defer p.close()
		if err := p.reachKeys(ctx); err != nil {
			return err
		}
		return f(ctx, localKeys{p.broker}, args)
	})
}

// reachKeys connects to the NATS server of the settings, or to that of the data folder: it runs
// one there, unless a scu serve does, which may be asked if it was started with --nats-listen.
func (p *process) reachKeys(ctx context.Context) error {
	if p.set.NATSURL != "" {
		return p.dialNATS(ctx)
	}
	p.set.NATSListen = ""
	err := p.startNATS(ctx)
	if scu.CodeOf(err) != scu.CodeConflict {
		return err
	}
	if _, absent := os.Stat(filepath.Join(p.set.Data, natsLogin)); absent == nil {
		return p.dialNATS(ctx)
	}
	return scu.AsError(err).WithHint("leave --data out to ask the server that runs there, with an administrator's key; if nobody has one, stop the server first")
}

// localKeys keeps keys without a server.
type localKeys struct{ keys scu.Keys }

func (l localKeys) CreateKey(ctx context.Context, r client.KeyRequest) (out client.NewAPIKey, err error) {
	now := time.Now()
	k, text, err := r.Key(now)
	if err != nil {
		return out, err
	}
	return client.NewAPIKey{APIKey: client.KeyOf(k, now), Key: text}, l.keys.AddKey(ctx, k)
}

func (l localKeys) Keys(ctx context.Context) (client.APIKeyList, error) {
	all, err := l.keys.Keys(ctx)
	return client.KeysOf(all, time.Now()), err
}

func (l localKeys) RevokeKey(ctx context.Context, id string) (client.DeleteResponse, error) {
	return client.DeleteResponse{Message: "Key " + id + " revoked", ID: id}, l.keys.RemoveKey(ctx, id)
}
