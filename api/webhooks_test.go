package api

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// received is a message as a webhook's receiver has it.
type received struct {
	header http.Header
	body   string
}

// receiver is an HTTP server that answers one status after the other, and then 200.
func receiver(t *testing.T, statuses ...int) (url string, got chan received) {
	got = make(chan received, 100)
	answers := make(chan int, len(statuses))
	for _, s := range statuses {
		answers <- s
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		select {
		case status := <-answers:
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(status)
		default:
		}
		got <- received{r.Header, string(b)}
	}))
	t.Cleanup(web.Close)
	return web.URL, got
}

// hooked starts a rig that tells webhooks, private addresses allowed, with short pauses.
func hooked(t *testing.T) (r *rig, tell func() (stop func())) {
	r = start(t, func(o *Options) { o.WebhookKey, o.AllowPrivateURLs = []byte("the server's key"), true })
	r.server.hooks.retry = func(int) time.Duration { return time.Millisecond }
	return r, func() func() {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); r.server.tellWebhooks(ctx) }()
		stop := func() { cancel(); <-done }
		t.Cleanup(stop)
		return stop
	}
}

// A webhook is told of the changes that it asked for, signed as Standard Webhooks says, and
// again under the same id, byte for byte but for the time, until it answers 2xx; a redirect
// is no such answer and is not followed. What happens while no server runs is told
// afterwards, and each thing once.
func TestWebhook(t *testing.T) {
	r, tell := hooked(t)
	url, got := receiver(t, 500, 302, 429)
	w, err := r.sdk.AddWebhook(t.Context(), client.WebhookRequest{URL: url})
	must(t, err)
	cancelled := r.submit(nil) // before anybody tells anything: a restart
	_, err = r.sdk.Cancel(t.Context(), cancelled)
	must(t, err)
	stop := tell()
	secret, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(w.Secret, "whsec_"))
	must(t, err)
	var id string
	for try := range 4 {
		m := <-got
		if try == 0 {
			id = m.header.Get("webhook-id")
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(m.header.Get("webhook-id") + "." + m.header.Get("webhook-timestamp") + "." + m.body))
		if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); m.header.Get("webhook-signature") != want || m.header.Get("webhook-id") != id {
			t.Errorf("try %d has the headers %v", try, m.header)
		}
		var body struct {
			Type string
			Data client.JobStatus
		}
		must(t, json.Unmarshal([]byte(m.body), &body))
		if body.Type != "job.cancelled" || body.Data.JobID != cancelled || body.Data.Status != scu.Cancelled {
			t.Errorf("it is told %s", m.body)
		}
	}
	var list client.DeliveryList
	noted := func(n int) { // a try is noted after it was received
		for len(list.Deliveries) < n {
			list, err = r.sdk.Deliveries(t.Context(), w.ID)
			must(t, err)
		}
	}
	noted(4)
	stop()
	second := r.submit(nil)
	r.complete(r.begin(second, 3), []byte("adapter"))
	tell()
	if m := <-got; !strings.Contains(m.body, second) || !strings.Contains(m.body, `"job.completed"`) {
		t.Errorf("after a restart it is told %s", m.body)
	}
	noted(5)
	var statuses []int
	for _, d := range list.Deliveries {
		statuses = append(statuses, d.Status)
		if d.Delivered != (d.Status == 200) || d.Delivered != d.Next.IsZero() || d.Delivered != (d.Error == "") {
			t.Errorf("noted is %+v", d)
		}
	}
	if len(statuses) != 5 || statuses[0] != 200 || statuses[1] != 200 || statuses[2] != 429 || statuses[3] != 302 || statuses[4] != 500 {
		t.Errorf("noted are %v", statuses)
	}
	if len(got) > 0 {
		t.Errorf("something is told twice")
	}
}

// The test button tells at once, and what became of it; 410 ends the tries; a webhook that is
// removed is gone with its deliveries.
func TestWebhookTestAndRemoval(t *testing.T) {
	r, tell := hooked(t)
	tell()
	url, got := receiver(t, 410)
	w, err := r.sdk.AddWebhook(t.Context(), client.WebhookRequest{URL: url, Events: []scu.EventType{scu.EventSubmitted}})
	must(t, err)
	r.submit(nil)
	if m := <-got; !strings.Contains(m.body, `"job.submitted"`) {
		t.Errorf("it is told %s", m.body)
	}
	d, err := r.sdk.TestWebhook(t.Context(), w.ID)
	must(t, err)
	if m := <-got; !d.Delivered || d.Status != 200 || !strings.Contains(m.body, `"webhook.test"`) || m.header.Get("webhook-id") != d.MessageID {
		t.Errorf("the test is %+v, told %s", d, m.body)
	}
	list, err := r.sdk.Webhooks(t.Context())
	must(t, err)
	if list.Count != 1 || list.Webhooks[0].URL != url {
		t.Errorf("listed are %+v", list)
	}
	if _, _, body := r.ask("GET", "/webhooks", ""); strings.Contains(body, "whsec") || strings.Contains(body, "secret") {
		t.Errorf("the secret is shown again: %s", body)
	}
	must(t, first(r.sdk.RemoveWebhook(t.Context(), w.ID)))
	for _, err := range []error{first(r.sdk.RemoveWebhook(t.Context(), w.ID)), first(r.sdk.TestWebhook(t.Context(), w.ID)), first(r.sdk.Deliveries(t.Context(), w.ID))} {
		if scu.CodeOf(err) != scu.CodeNotFound {
			t.Errorf("once removed: %v", err)
		}
	}
}

// No webhook gets at a private address: an address is refused when it is given, a name
// when the connection is made.
func TestWebhookStaysOutOfPrivateNetworks(t *testing.T) {
	r := start(t, func(o *Options) { o.WebhookKey = []byte("k") })
	for url, code := range map[string]scu.Code{
		"http://127.0.0.1/": scu.CodeForbidden, "http://[::1]:80/": scu.CodeForbidden, "http://169.254.169.254/latest": scu.CodeForbidden, "http://10.0.0.1/": scu.CodeForbidden,
		"http://[::ffff:127.0.0.1]/": scu.CodeForbidden, "ftp://example.com/": scu.CodeInvalid, "http://user:pw@example.com/": scu.CodeInvalid, "nothing": scu.CodeInvalid,
	} {
		if _, err := r.sdk.AddWebhook(t.Context(), client.WebhookRequest{URL: url}); scu.CodeOf(err) != code {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := r.sdk.AddWebhook(t.Context(), client.WebhookRequest{URL: "https://example.com/", Events: []scu.EventType{"phase"}}); scu.CodeOf(err) != scu.CodeInvalid {
		t.Errorf("an event that is none: %v", err)
	}
	url, got := receiver(t)
	w, err := r.sdk.AddWebhook(t.Context(), client.WebhookRequest{URL: strings.Replace(url, "127.0.0.1", "localhost", 1)})
	must(t, err)
	d, err := r.sdk.TestWebhook(t.Context(), w.ID)
	must(t, err)
	if d.Delivered || d.Error != privateWebhook.Message || len(got) > 0 {
		t.Errorf("a name of this machine: %+v", d)
	}
}

// The pauses grow, and end within a day.
func TestWebhookPauses(t *testing.T) {
	var sum time.Duration
	for try := 1; sum < tellFor; try++ {
		if wait := retryAfter(try); wait < firstRetry || wait > longestWait || try > 30 {
			t.Fatalf("after try %d it waits %v", try, wait)
		} else if h := (hooks{retry: retryAfter}); h.waited(try) != sum {
			t.Fatalf("before try %d it has waited %v, want %v", try, h.waited(try), sum)
		} else {
			sum += wait
		}
	}
}

// An entry whose writer's clock was more than a day behind is told as any other, again and again.
func TestWebhookIsToldOfWhatIsDatedLongAgo(t *testing.T) {
	r, tell := hooked(t)
	url, got := receiver(t, 500, 500)
	must(t, first(r.sdk.AddWebhook(t.Context(), client.WebhookRequest{URL: url, Events: []scu.EventType{scu.EventSubmitted}})))
	e := scu.Submission(scu.Job{BaseModel: scu.BuiltInModel, Config: scu.DefaultConfig(), Class: "cpu"}, time.Now().Add(-2*tellFor))
	must(t, first(r.broker.Submit(t.Context(), e)))
	tell()
	for range 3 {
		if m := <-got; !strings.Contains(m.body, e.Job.ID) {
			t.Errorf("it is told %s", m.body)
		}
	}
}
