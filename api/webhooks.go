package api

import (
	"context"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// Bounds of how many there are, and of an owner: each follows the log.
const (
	maxWebhooks    = 50
	maxOwnWebhooks = 10
)

// webhook returns a webhook that the caller sees.
func (s *Server) webhook(ctx context.Context, id string) (scu.Webhook, error) {
	w, err := s.o.Broker.Webhook(ctx, id)
	if scu.CodeOf(err) == scu.CodeNotFound || err == nil && !callerOf(ctx).sees(w.Owner) {
		return scu.Webhook{}, scu.Errorf(scu.CodeNotFound, "no webhook %.64q", id)
	}
	return w, err
}

// seen are the webhooks that a caller sees.
func seen(who caller, all []scu.Webhook) []scu.Webhook {
	return slices.DeleteFunc(slices.Clone(all), func(w scu.Webhook) bool { return !who.sees(w.Owner) })
}

type webhookInput struct {
	ID string `path:"id" doc:"The webhook's id"`
}

type addWebhookInput struct {
	Body client.WebhookRequest
}

func (s *Server) addWebhook(ctx context.Context, in *addWebhookInput) (*reply[client.NewWebhook], error) {
	if len(s.o.WebhookKey) == 0 {
		return nil, scu.Errorf(scu.CodeUnsupported, "this server has no webhooks")
	}
	u, err := url.Parse(in.Body.URL)
	if err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "not a valid URL").At("url")
	}
	if err := checkURL(u); err != nil {
		return nil, within("url", err)
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !s.o.AllowPrivateURLs && !public(a) {
		return nil, privateWebhook.At("url")
	}
	w := scu.Webhook{ID: scu.NewJobID(), Owner: callerOf(ctx).owner, URL: in.Body.URL, Events: in.Body.Events, CreatedAt: time.Now().UTC()}
	if len(w.Events) == 0 {
		w.Events = []scu.EventType{scu.EventCompleted, scu.EventFailed, scu.EventCancelled}
	}
	for _, e := range w.Events {
		if !slices.Contains(scu.WebhookEvents, e) {
			return nil, scu.Errorf(scu.CodeInvalid, "%.40q is no event that webhooks are told of", e).At("events").WithHint("submitted, started, completed, failed or cancelled")
		}
	}
	all, err := s.o.Broker.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	own := seen(caller{owner: w.Owner}, all)
	if len(all) >= maxWebhooks || w.Owner != "" && len(own) >= maxOwnWebhooks {
		return nil, scu.Errorf(scu.CodeConflict, "no more webhooks are allowed: there may be %d, and %d of an owner", maxWebhooks, maxOwnWebhooks).WithHint("remove one")
	}
	if err := s.o.Broker.AddWebhook(ctx, w); err != nil {
		return nil, err
	}
	s.hooks.look()
	return answer(client.NewWebhook{Webhook: w, Secret: secretText(s.webhookSecret(w.ID))}), nil
}

func (s *Server) listWebhooks(ctx context.Context, _ *struct{}) (*reply[client.WebhookList], error) {
	all, err := s.o.Broker.Webhooks(ctx)
	if err != nil {
		return nil, err
	}
	all = seen(callerOf(ctx), all)
	return answer(client.WebhookList{Webhooks: append([]scu.Webhook{}, all...), Count: len(all)}), nil
}

func (s *Server) removeWebhook(ctx context.Context, in *webhookInput) (*reply[client.DeleteResponse], error) {
	if _, err := s.webhook(ctx, in.ID); err != nil {
		return nil, err
	}
	if err := s.o.Broker.RemoveWebhook(ctx, in.ID); err != nil {
		return nil, err
	}
	s.hooks.look()
	return answer(client.DeleteResponse{Message: "Webhook " + in.ID + " removed", ID: in.ID}), nil
}

// testWebhook sends a message that no job is behind.
func (s *Server) testWebhook(ctx context.Context, in *webhookInput) (*reply[scu.Delivery], error) {
	w, err := s.webhook(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	d := s.send(ctx, w, scu.Delivery{WebhookID: w.ID, MessageID: "msg_" + w.ID + "_test_" + scu.NewJobID(), Type: "webhook.test", Try: 1}, map[string]string{"webhook_id": w.ID})
	if err := s.o.Broker.AddDelivery(ctx, d); err != nil {
		return nil, err
	}
	return answer(d), nil
}

type deliveriesInput struct {
	ID    string `path:"id" doc:"The webhook's id"`
	Limit int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"At most so many"`
}

func (s *Server) deliveries(ctx context.Context, in *deliveriesInput) (*reply[client.DeliveryList], error) {
	if _, err := s.webhook(ctx, in.ID); err != nil {
		return nil, err
	}
	all, err := s.o.Broker.Deliveries(ctx, in.ID, in.Limit)
	if err != nil {
		return nil, err
	}
	return answer(client.DeliveryList{Deliveries: all, Count: len(all)}), nil
}
