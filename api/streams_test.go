package api

import (
	"context"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
)

// filling is a broker whose streams have shares of their limits.
type filling struct {
	Broker
	log, kept, metrics int64 // percent
}

func (f filling) LogUse(context.Context) (scu.StreamUse, error) {
	return scu.StreamUse{Name: scu.LogUse, Bytes: f.log << 20, Reserved: f.kept << 20, MaxBytes: 100 << 20}, nil
}

func (f filling) Streams(ctx context.Context) ([]scu.StreamUse, error) {
	log, err := f.LogUse(ctx)
	return []scu.StreamUse{log, {Name: scu.MetricsUse, Bytes: f.metrics << 20, MaxBytes: 100 << 20}}, err
}

// That streams fill is told before anything comes of it; a full log takes no new jobs, and the
// data that would come with one isn't kept.
func TestStreamsThatFill(t *testing.T) {
	const job = `{"name": "x", "base_model": "bookworm-2m", "train_data_path": "train.txt"}`
	for _, test := range []struct {
		log, kept, metrics int64
		warned             []string
		submission         int
	}{
		{10, 0, 10, nil, 200},
		{90, 0, 10, []string{"the log of jobs takes 90%"}, 200},
		{40, 40, 10, []string{"the log of jobs takes 80% of its limit; 40% are kept"}, 200},
		{10, 0, 100, []string{"the stream of metrics takes 100%"}, 200},
		{60, 40, 80, []string{"the log of jobs takes 100%", "the stream of metrics takes 80%"}, 507},
	} {
		r := start(t, func(o *Options) { o.Broker = filling{o.Broker, test.log, test.kept, test.metrics} })
		h, err := r.sdk.Health(t.Context())
		must(t, err)
		if len(h.Warnings) != len(test.warned) {
			t.Fatal(h.Warnings)
		}
		for i, want := range test.warned {
			if !strings.HasPrefix(h.Warnings[i], want) {
				t.Errorf("%q doesn't begin with %q", h.Warnings[i], want)
			}
		}
		if status, _, body := r.ask(http.MethodPost, "/jobs/submit", job); status != test.submission || status != 200 && !strings.Contains(body, "log-max-bytes") {
			t.Errorf("log at %d%%: %d %s", test.log, status, body)
		}
		if _, _, body := r.ask(http.MethodGet, "/metrics", ""); !strings.Contains(body, `scu_stream_bytes{stream="log"}`) || !strings.Contains(body, `scu_stream_reserved_bytes{stream="log"}`) || !strings.Contains(body, `scu_stream_max_bytes{stream="metrics"} 1.048576e+08`) {
			t.Error(body)
		}
		page, err := r.sdk.Files(t.Context(), "", 10)
		must(t, err)
		if kept := len(page.Files) > 0; kept != (test.submission == 200) {
			t.Errorf("log at %d%%: files %+v", test.log, page.Files)
		}
	}
}

// ailing is a broker of which a stream beside the log has no leader.
type ailing struct{ Broker }

func (ailing) Streams(ctx context.Context) ([]scu.StreamUse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Jobs go into the log: what else is out of order in NATS doesn't hold a submission up.
func TestSubmissionAsksForTheLogAlone(t *testing.T) {
	r := start(t, func(o *Options) { o.Broker = ailing{o.Broker} })
	r.submit(nil)
}

// A stream that NATS has no room for is told by name in health, with what would make it fit, until
// it is there; what doesn't need it works.
func TestStreamsWithoutRoom(t *testing.T) {
	r := start(t, nil)
	nc, err := nats.Connect("", nats.InProcessServer(r.nats), nats.UserInfo(broker.OperatorUser, r.nats.Password(broker.OperatorUser)), nats.CustomInboxPrefix("_INBOX_"+broker.OperatorUser))
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	must(t, js.DeleteKeyValue(t.Context(), "SCU_WEBHOOKS")) // as an older version had none
	others, name := int64(math.MaxInt64), "OTHERS"          // what NATS keeps free, and the rest of it
	for s := range js.ListStreams(t.Context()).Info() {
		if s.Config.Storage == jetstream.FileStorage {
			others -= max(s.Config.MaxBytes, 0)
		}
	}
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, MaxBytes: others})
	must(t, err)

	warnings := func() string {
		must(t, r.broker.Setup(t.Context()))
		h, err := r.sdk.Health(t.Context())
		must(t, err)
		return strings.Join(h.Warnings, "\n")
	}
	if all := warnings(); !strings.Contains(all, "stream KV_SCU_WEBHOOKS can't be made") || !strings.Contains(all, "max_file_store") {
		t.Errorf("health warns of %q", all)
	}
	if status, _, body := r.ask(http.MethodGet, "/webhooks", ""); status != http.StatusInsufficientStorage || !strings.Contains(body, "max_file_store") {
		t.Errorf("%d %s", status, body)
	}
	r.submit(nil)
	must(t, js.DeleteStream(t.Context(), name))
	if all := warnings(); all != "" {
		t.Errorf("with room health warns of %q", all)
	}
	if status, _, body := r.ask(http.MethodGet, "/webhooks", ""); status != 200 {
		t.Errorf("%d %s", status, body)
	}
}

// lacking is a broker with streams that NATS has no room for.
type lacking struct {
	Broker
	what []*scu.Error
}

func (l lacking) Shortages() []*scu.Error { return l.what }

// What makes room for several streams is told once, and what another one needs beside it as well.
func TestRoomIsToldOnce(t *testing.T) {
	short := func(name, room string) *scu.Error {
		return scu.Errorf(scu.CodeStorage, "stream %s", name).WithHint("room for %s", room)
	}
	r := start(t, func(o *Options) {
		o.Broker = lacking{o.Broker, []*scu.Error{short("A", "64 GiB"), short("B", "1 GiB"), short("C", "1 GiB")}}
	})
	h, err := r.sdk.Health(t.Context())
	must(t, err)
	if len(h.Warnings) != 3 || !strings.Contains(h.Warnings[0], "64 GiB") || h.Warnings[1] != "stream B" || !strings.Contains(h.Warnings[2], "1 GiB") {
		t.Errorf("health warns of %q", h.Warnings)
	}
}
