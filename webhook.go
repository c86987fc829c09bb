package scu

import (
	"context"
	"time"
)

// Webhook is an address that is told when jobs change. Its secret isn't stored: the API
// derives it from its own key.
type Webhook struct {
	ID        string      `json:"webhook_id"`
	Owner     string      `json:"owner,omitempty"` // whose jobs it is told of; empty: everybody's
	URL       string      `json:"url"`
	Events    []EventType `json:"events"` // those that it is told of
	CreatedAt time.Time   `json:"created_at"`
}

// WebhookEvents are what a webhook can be told of.
var WebhookEvents = []EventType{EventSubmitted, EventStarted, EventCompleted, EventFailed, EventCancelled}

// Delivery is one try to tell a webhook something.
type Delivery struct {
	WebhookID string    `json:"webhook_id"`
	MessageID string    `json:"message_id"` // the same for each try: the header webhook-id
	Type      string    `json:"type"`       // as job.completed
	JobID     string    `json:"job_id,omitempty"`
	Try       int       `json:"try"` // from 1
	Time      time.Time `json:"time"`
	Delivered bool      `json:"delivered"`
	Status    int       `json:"status,omitempty"` // of the answer; 0: there was none
	Error     string    `json:"error,omitempty"`
	Next      time.Time `json:"next_try,omitzero"` // when it is tried again; zero: never
}

// Notice is an entry of the log that a webhook is to be told of, or isn't any more.
type Notice struct {
	Entry LogEntry
	Try   int // from 1
}

// Webhooks keeps webhooks, and hands each the entries of the log since it was made: those
// that were not dealt with stay, whatever restarts. An id of none is CodeNotFound.
type Webhooks interface {
	AddWebhook(ctx context.Context, w Webhook) error
	Webhook(ctx context.Context, id string) (Webhook, error)
	// Webhooks lists them, the oldest first.
	Webhooks(ctx context.Context) ([]Webhook, error)
	RemoveWebhook(ctx context.Context, id string) error
	// Notices hands over a webhook's entries until ctx ends or the webhook is removed, several
	// at a time. deal returns after how long to hand the entry over again; 0: it is dealt
	// with. Of several callers each entry goes to one.
	Notices(ctx context.Context, id string, deal func(context.Context, Notice) (again time.Duration)) error
	// AddDelivery notes a try; only the newest of each webhook are kept.
	AddDelivery(ctx context.Context, d Delivery) error
	// Deliveries lists a webhook's tries, the newest first.
	Deliveries(ctx context.Context, id string, limit int) ([]Delivery, error)
}
