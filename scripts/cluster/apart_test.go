//go:build unix

package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/broker"
)

// With three NATS servers, two APIs, two projectors and three trainers any one may die:
// the log has three copies, the standby projector takes over within 5 s, and a job that was
// submitted through one API is watched to its end through the other.
func TestRolesApart(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "scu")
	buildSCU(t, program)
	c, err := start(t.Context(), options{files: []string{"../../compose.yaml", "../../compose.cluster.yaml"}, dir: filepath.Join(dir, "cluster"), scu: program,
		env: func(string) []string { return []string{"SCU_ALLOW_PRIVATE_URLS=true"} }}) // webhooks come to this test
	check(t, err)
	t.Cleanup(c.stop)
	x := &chaos{cluster: c, t: t}
	sdks := x.clients()
	x.sdks = sdks[:1]
	data := x.upload()
	submit := func(steps int) string {
		t.Helper()
		var id string
		r := client.SubmitRequest{BaseModel: "bookworm-2m", TrainDataPath: data, IdempotencyKey: scu.NewJobID(),
			ConfigOverrides: map[string]any{"steps": steps, "block_size": 128}}
		x.until(t.Context(), "submit", func(ctx context.Context) error {
			got, err := sdks[0].Submit(ctx, r)
			id = got.JobID
			return err
		})
		return id
	}

	x.until(t.Context(), "three copies of the log", func(ctx context.Context) error {
		h, err := sdks[0].Health(ctx)
		if err == nil && (h.Copies == nil || *h.Copies != scu.Copies{Kept: 3, Current: 3}) {
			err = fmt.Errorf("%+v", h.Copies)
		}
		return err
	})

	t.Run("each API signs with a webhook's one secret", func(t *testing.T) {
		got := make(chan [2]string, 1) // the signature, and what it is to be
		var secret []byte
		hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mac := hmac.New(sha256.New, secret)
			fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
			got <- [2]string{r.Header.Get("webhook-signature"), "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))}
		}))
		defer hook.Close()
		w, err := sdks[0].AddWebhook(t.Context(), client.WebhookRequest{URL: hook.URL})
		check(t, err)
		secret, err = base64.StdEncoding.DecodeString(strings.TrimPrefix(w.Secret, "whsec_"))
		check(t, err)
		for i, sdk := range sdks {
			d, err := sdk.TestWebhook(t.Context(), w.ID)
			check(t, err)
			if !d.Delivered {
				t.Fatalf("API %d: %+v", i+1, d)
			}
			if pair := <-got; pair[0] != pair[1] {
				t.Errorf("API %d signs %s, want %s", i+1, pair[0], pair[1])
			}
		}
		_, err = sdks[0].RemoveWebhook(t.Context(), w.ID)
		check(t, err)
	})

	t.Run("the standby projector takes over", func(t *testing.T) {
		for _, name := range c.named("projector") { // one of the two is at work
			_, again := x.kill(name)
			killed := time.Now()
			id := submit(2)
			t.Logf("submitted after %v", time.Since(killed))
			x.until(t.Context(), "the read model's having job "+id, func(ctx context.Context) error {
				list, err := sdks[1].Jobs(ctx, client.JobsFilter{Limit: 10})
				if err == nil && (len(list.Jobs) == 0 || list.Jobs[0].JobID != id) {
					err = fmt.Errorf("it isn't listed")
				}
				return err
			})
			if took := time.Since(killed); took > 30*time.Second { // 3 s on a quiet machine
				t.Errorf("without %s the read model stood for %v", name, took)
			} else {
				t.Logf("without %s the read model stood for %v", name, took)
			}
			again()
		}
	})
	if t.Failed() {
		x.keepLogs()
	}
	t.Run("one API carries on without the other", func(t *testing.T) {
		id := submit(60)
		watched := make(chan error, 1)
		var steps []int
		begun := make(chan struct{})
		go func() {
			watched <- sdks[1].Watch(t.Context(), id, 0, func(e client.Event) error {
				if e.Metrics != nil {
					if steps = append(steps, e.Metrics.Step); len(steps) == 1 {
						close(begun)
					}
				}
				return nil
			})
		}()
		<-begun
		_, again := x.kill("api")
		defer again()
		if resp, err := http.Get(c.apiURL("api") + "/livez"); err == nil {
			resp.Body.Close()
			t.Error("the API that was killed answers")
		}
		if s, err := sdks[1].Status(t.Context(), id); err != nil || s.JobID != id {
			t.Errorf("%+v, %v", s, err)
		}
		check(t, <-watched)
		for i, step := range steps {
			if step != i+1 {
				t.Fatalf("the steps %v", steps)
			}
		}
		if s, err := sdks[1].Status(t.Context(), id); err != nil || s.Status != scu.Completed || len(steps) != 60 {
			t.Errorf("%d steps, %+v, %v", len(steps), s, err)
		}
	})
	t.Run("jobs end while no API runs", func(t *testing.T) {
		running := submit(60)
		jobs := []string{running}
		for range 4 { // more than there are trainers
			jobs = append(jobs, submit(20))
		}
		url, err := os.ReadFile(c.secret("nats-operator"))
		check(t, err)
		operator, err := broker.Connect(t.Context(), broker.Options{URL: strings.TrimSpace(string(url))})
		check(t, err)
		defer operator.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 5*patience)
		defer cancel()
		await := func(id string, until func(scu.Job) bool) (last scu.Job) {
			t.Helper()
			entries, err := operator.FollowJob(ctx, id, 0)
			check(t, err)
			for e := range entries {
				if last = e.Event.Job; until(last) {
					return last
				}
			}
			t.Fatalf("job %s is %s", id, last.Status)
			return last
		}
		await(running, func(j scu.Job) bool { return j.Phase == scu.Training })
		for _, name := range c.named("api") {
			_, again := x.kill(name)
			defer again()
		}
		for _, id := range jobs {
			if j := await(id, func(j scu.Job) bool { return j.Status.Ended() }); j.Status != scu.Completed || j.Attempt != 1 {
				t.Errorf("job %s is %s in attempt %d: %v", id, j.Status, j.Attempt, j.Error)
			}
		}
	})
	if t.Failed() {
		x.keepLogs()
	}
}
