package api

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/shannon-control/scu"
)

// How webhooks are told: by Standard Webhooks, with a signature; again with growing
// pauses, for a day, until an answer is 2xx; never at a private address, which is checked
// when the connection is made; never by a redirect.
const (
	sendTime    = 15 * time.Second
	tellFor     = 24 * time.Hour
	lookEvery   = 5 * time.Second // for webhooks that another API added or removed
	maxDrained  = 16 << 10        // of an answer
	firstRetry  = 5 * time.Second
	longestWait = 2 * time.Hour
)

var privateWebhook = scu.Errorf(scu.CodeForbidden, "the URL points to a private address").WithHint("set SCU_ALLOW_PRIVATE_URLS on the server")

// hooks are the followers of the log, one a webhook.
type hooks struct {
	sender *http.Client
	retry  func(try int) time.Duration
	looked chan struct{}
}

func newHooks(allowPrivate bool) hooks {
	c := newFetcher(allowPrivate)
	c.Timeout = sendTime
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return hooks{sender: c, retry: retryAfter, looked: make(chan struct{}, 1)}
}

// look has the list of webhooks read again at once.
func (h *hooks) look() {
	select {
	case h.looked <- struct{}{}:
	default:
	}
}

// retryAfter is the pause after a try: 5 s, and three times as much each time, up to 2 h.
func retryAfter(try int) time.Duration {
	wait := firstRetry
	for range try - 1 {
		if wait *= 3; wait >= longestWait {
			return longestWait
		}
	}
	return wait
}

// waited is how long the pauses before a try took together. No two clocks are compared: that of who
// wrote the entry may be another than this one.
func (h *hooks) waited(try int) (all time.Duration) {
	for n := 1; n < try && all <= tellFor; n++ {
		all += h.retry(n)
	}
	return all
}

// tellWebhooks tells every webhook what happens, until ctx ends.
func (s *Server) tellWebhooks(ctx context.Context) {
	if len(s.o.WebhookKey) == 0 {
		return
	}
	following := map[string]context.CancelFunc{}
	var running sync.WaitGroup
	defer running.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if all, err := s.o.Broker.Webhooks(ctx); err == nil {
			for id, stop := range following {
				if !slices.ContainsFunc(all, func(w scu.Webhook) bool { return w.ID == id }) {
					stop()
					delete(following, id)
				}
			}
			for _, w := range all {
				if following[w.ID] == nil {
					one, stop := context.WithCancel(ctx)
					following[w.ID] = stop
					running.Go(func() { s.follow(one, w) })
				}
			}
		} else if ctx.Err() == nil {
			s.log.Warn("webhooks can't be listed; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			for _, stop := range following {
				stop()
			}
			return
		case <-tick.C:
		case <-s.hooks.looked:
		}
	}
}

// follow tells one webhook what happens, until ctx ends.
func (s *Server) follow(ctx context.Context, w scu.Webhook) {
	for {
		err := s.o.Broker.Notices(ctx, w.ID, func(ctx context.Context, n scu.Notice) time.Duration { return s.tell(ctx, w, n) })
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("a webhook is not told anything now; trying again", "webhook", w.ID, "err", err)
		if scu.Sleep(ctx, lookEvery) != nil {
			return
		}
	}
}

// tell tells a webhook of an entry of the log, and returns after how long to try again; 0:
// never.
func (s *Server) tell(ctx context.Context, w scu.Webhook, n scu.Notice) time.Duration {
	e := n.Entry.Event
	if !slices.Contains(w.Events, e.Type) || w.Owner != "" && w.Owner != e.Job.Owner {
		return 0
	}
	d := s.send(ctx, w, scu.Delivery{WebhookID: w.ID, MessageID: fmt.Sprintf("msg_%s_%d", w.ID, n.Entry.Seq), Type: "job." + string(e.Type), JobID: e.Job.ID, Try: n.Try}, statusOf(e.Job, nil))
	if ctx.Err() != nil && !d.Delivered { // the server ends: the next one tells it
		return time.Second
	}
	wait := s.hooks.retry(n.Try)
	if d.Delivered || d.Status == http.StatusGone || s.hooks.waited(n.Try)+wait > tellFor {
		wait = 0
	} else {
		d.Next = d.Time.Add(wait)
	}
	if err := s.o.Broker.AddDelivery(context.WithoutCancel(ctx), d); err != nil {
		s.log.Warn("a delivery can't be noted", "webhook", w.ID, "err", err)
	}
	return wait
}

// send makes one try, and fills in what became of it.
func (s *Server) send(ctx context.Context, w scu.Webhook, d scu.Delivery, data any) scu.Delivery {
	d.Time = time.Now().UTC()
	body, err := json.Marshal(map[string]any{"type": d.Type, "timestamp": d.Time, "data": data})
	if err != nil {
		d.Error = err.Error()
		return d
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		d.Error = "the URL is not valid"
		return d
	}
	at := strconv.FormatInt(d.Time.Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "scu/"+s.o.Version)
	req.Header.Set("webhook-id", d.MessageID)
	req.Header.Set("webhook-timestamp", at)
	req.Header.Set("webhook-signature", sign(s.webhookSecret(w.ID), d.MessageID, at, body))
	resp, err := s.hooks.sender.Do(req)
	switch {
	case errors.Is(err, errPrivate):
		d.Error = privateWebhook.Message
	case err != nil:
		d.Error = scu.AsError(unfetched(err)).Message
	default:
		io.Copy(io.Discard, io.LimitReader(resp.Body, maxDrained))
		resp.Body.Close()
		d.Status, d.Delivered = resp.StatusCode, resp.StatusCode/100 == 2
		if !d.Delivered {
			d.Error = "the answer is " + resp.Status
		}
	}
	return d
}

// webhookSecret derives a webhook's secret from the server's key: none is stored.
func (s *Server) webhookSecret(id string) []byte {
	m := hmac.New(sha256.New, s.o.WebhookKey)
	m.Write([]byte("webhook secret " + id))
	return m.Sum(nil)
}

func secretText(secret []byte) string { return "whsec_" + base64.StdEncoding.EncodeToString(secret) }

// sign is the header webhook-signature of Standard Webhooks.
func sign(secret []byte, id, at string, body []byte) string {
	m := hmac.New(sha256.New, secret)
	fmt.Fprintf(m, "%s.%s.", id, at)
	m.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(m.Sum(nil))
}
