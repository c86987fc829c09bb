package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/shannon-control/scu"
)

// WebhookRequest asks for a webhook.
type WebhookRequest struct {
	URL    string          `json:"url" minLength:"1" maxLength:"2000" example:"https://example.com/hook" doc:"http or https, at an address of the open Internet unless the server allows private ones"`
	Events []scu.EventType `json:"events,omitempty" maxItems:"10" doc:"Which changes: submitted, started, completed, failed, cancelled; default completed, failed and cancelled"`
}

// NewWebhook is a webhook with its secret.
type NewWebhook struct {
	scu.Webhook
	Secret string `json:"secret" doc:"whsec_..., with which messages are signed (HMAC-SHA256 of Standard Webhooks). It isn't shown again"`
}

// WebhookList are webhooks, the oldest first.
type WebhookList struct {
	Webhooks []scu.Webhook `json:"webhooks" nullable:"false"`
	Count    int           `json:"count"`
}

// DeliveryList are tries to tell a webhook, the newest first.
type DeliveryList struct {
	Deliveries []scu.Delivery `json:"deliveries" nullable:"false"`
	Count      int            `json:"count"`
}

// AddWebhook has an address told when jobs change. The answer alone has its secret.
func (c *Client) AddWebhook(ctx context.Context, r WebhookRequest) (NewWebhook, error) {
	return post[NewWebhook](ctx, c, "/webhooks", r, "")
}

// Webhooks lists the webhooks.
func (c *Client) Webhooks(ctx context.Context) (WebhookList, error) {
	return call[WebhookList](ctx, c, http.MethodGet, "/webhooks")
}

// TestWebhook sends a webhook a test message now.
func (c *Client) TestWebhook(ctx context.Context, id string) (scu.Delivery, error) {
	return call[scu.Delivery](ctx, c, http.MethodPost, "/webhooks/"+url.PathEscape(id)+"/test")
}

// Deliveries lists the newest tries to tell a webhook.
func (c *Client) Deliveries(ctx context.Context, id string) (DeliveryList, error) {
	return call[DeliveryList](ctx, c, http.MethodGet, "/webhooks/"+url.PathEscape(id)+"/deliveries")
}

// RemoveWebhook removes a webhook.
func (c *Client) RemoveWebhook(ctx context.Context, id string) (DeleteResponse, error) {
	return call[DeleteResponse](ctx, c, http.MethodDelete, "/webhooks/"+url.PathEscape(id))
}
