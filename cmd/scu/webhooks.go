package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

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
			return a.addWebhook(ctx, api, args[0], events)
		}),
	}
	add.Flags().StringSliceVar(&events, "events", nil, "submitted, started, completed, failed, cancelled; default the last three")
	list := &cobra.Command{Use: "list", Short: "List webhooks", Args: cobra.NoArgs, RunE: a.call(a.listWebhooks)}
	test := &cobra.Command{Use: "test WEBHOOK", Short: "Send a test message now", Args: cobra.ExactArgs(1), RunE: a.call(a.testWebhook)}
	deliveries := &cobra.Command{
		Use: "deliveries WEBHOOK", Short: "List the newest tries to tell a webhook", Args: cobra.ExactArgs(1), RunE: a.call(a.listDeliveries),
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

func (a *app) addWebhook(ctx context.Context, api *client.Client, url string, events []string) error {
	req := client.WebhookRequest{URL: url}
	for _, e := range events {
		req.Events = append(req.Events, scu.EventType(e))
	}
	w, err := api.AddWebhook(ctx, req)
	if err != nil {
		return err
	}
	return a.done(w, fmt.Sprintf("Webhook added: %s\nSecret, which isn't shown again: %s", w.ID, w.Secret))
}

func (a *app) listWebhooks(ctx context.Context, api *client.Client, _ []string) error {
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
}

func (a *app) testWebhook(ctx context.Context, api *client.Client, args []string) error {
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
}

func (a *app) listDeliveries(ctx context.Context, api *client.Client, args []string) error {
	l, err := api.Deliveries(ctx, args[0])
	if err != nil {
		return err
	}
	return printList(a, l, "deliveries", "TIME\tTYPE\tJOB\tTRY\tRESULT\tNEXT TRY", l.Deliveries, func(d scu.Delivery) string {
		result, next := "delivered", "-"
		if !d.Delivered {
			result = d.Error
		}
		if !d.Next.IsZero() {
			next = d.Next.Local().Format(time.DateTime)
		}
		return fmt.Sprintf("%s\t%s\t%s\t%d\t%s\t%s", d.Time.Local().Format(time.DateTime), d.Type, d.JobID, d.Try, result, next)
	})
}
