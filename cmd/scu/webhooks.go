package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// webhookKeyFile holds what the secrets of webhooks are derived from, in the data folder.
const webhookKeyFile = "webhook.key"

// webhookKeyBytes is how long the key is at least.
const webhookKeyBytes = 32

// webhookKey is the key that is set; otherwise it reads the one in the data folder, or
// makes it.
func (p *process) webhookKey() ([]byte, error) {
	if p.set.WebhookKey != "" {
		return []byte(p.set.WebhookKey), nil
	}
	path := filepath.Join(p.set.Data, webhookKeyFile)
	key := make([]byte, webhookKeyBytes)
	rand.Read(key)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		if _, err = f.Write(key); err == nil {
			err = f.Sync()
		}
		return key, errors.Join(err, f.Close())
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	key, err = os.ReadFile(path)
	if err == nil && len(key) < webhookKeyBytes {
		err = scu.Errorf(scu.CodeStorage, "%s is damaged: it has %d bytes", path, len(key)).WithHint("remove it: a new one is made, and webhooks get new secrets")
	}
	return key, err
}

func (a *app) webhooksCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "webhooks",
		Short: "Addresses that the server tells when jobs change",
		Long: `Has the server send a signed message (Standard Webhooks) to an address when a job
completes, fails or is cancelled: again with growing pauses, for a day, until the answer
is 2xx. The secret is shown once, by add.

  scu webhooks add https://example.com/hook
  scu webhooks test ID`,
		Args: cobra.ArbitraryArgs, RunE: onlySubcommands,
	}
	var events []string
	add := &cobra.Command{
		Use: "add URL", Short: "Add a webhook, and show its secret", Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			req := client.WebhookRequest{URL: args[0]}
			for _, e := range events {
				req.Events = append(req.Events, scu.EventType(e))
			}
			w, err := api.AddWebhook(ctx, req)
			if err != nil {
				return err
			}
			return a.done(w, fmt.Sprintf("Webhook added: %s\nSecret, which isn't shown again: %s", w.ID, w.Secret))
		}),
	}
	add.Flags().StringSliceVar(&events, "events", nil, "submitted, started, completed, failed, cancelled; default the last three")
	list := &cobra.Command{
		Use: "list", Short: "List webhooks", Args: cobra.NoArgs,
		RunE: a.call(func(ctx context.Context, api *client.Client, _ []string) error {
			l, err := api.Webhooks(ctx)
			if err != nil {
				return err
			}
			return printList(a, l, "webhooks", "WEBHOOK\tEVENTS\tURL", l.Webhooks, func(w scu.Webhook) string {
				names := make([]string, len(w.Events))
				for i, e := range w.Events {
					names[i] = string(e)
				}
				return fmt.Sprintf("%s\t%s\t%s", w.ID, strings.Join(names, ","), w.URL)
			})
		}),
	}
	test := &cobra.Command{
		Use: "test WEBHOOK", Short: "Send a test message now", Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			d, err := api.TestWebhook(ctx, args[0])
			if err != nil {
				return err
			}
			if a.json {
				if err := printJSON(a.out, d); err != nil {
					return err
				}
			}
			if !d.Delivered {
				return scu.Errorf(scu.CodeUnavailable, "not delivered: %s", d.Error)
			}
			if !a.json {
				fmt.Fprintf(a.out, "Delivered: the answer is %d\n", d.Status)
			}
			return nil
		}),
	}
	deliveries := &cobra.Command{
		Use: "deliveries WEBHOOK", Short: "List the newest tries to tell a webhook", Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			l, err := api.Deliveries(ctx, args[0])
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.out, l)
			}
			w := newTable(a.out, "TIME\tTYPE\tJOB\tTRY\tRESULT\tNEXT TRY")
			for _, d := range l.Deliveries {
				result, next := "delivered", "-"
				if !d.Delivered {
					result = d.Error
				}
				if !d.Next.IsZero() {
					next = d.Next.Local().Format(time.DateTime)
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\n", d.Time.Local().Format(time.DateTime), d.Type, d.JobID, d.Try, result, next)
			}
			return w.Flush()
		}),
	}
	remove := &cobra.Command{
		Use: "remove WEBHOOK", Short: "Remove a webhook", Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			res, err := api.RemoveWebhook(ctx, args[0])
			if err != nil {
				return err
			}
			return a.done(res, res.Message)
		}),
	}
	c.AddCommand(add, list, test, deliveries, remove)
	return c
}
