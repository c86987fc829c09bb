package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

func TestKey(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	routes := map[string]string{
		"/jobs": "GET", "/jobs/submit": "POST", "/jobs/0123456789abcdef": "GET", "/jobs/0123456789abcdef/status": "GET",
		"/jobs/0123456789abcdef/cancel": "POST", "/jobs/0123456789abcdef/events": "GET", "/jobs/0123456789abcdef/metrics": "GET",
		"/jobs/0123456789abcdef/adapter": "GET", "/files": "POST", "/metrics": "GET", "/debug/pprof/": "GET", "/debug/pprof/heap": "GET", "/docs/": "GET",
		"/nothing": "GET", "/health/": "GET",
	}
	for path, method := range routes {
		for _, shown := range []string{"", "Bearer wrong", "Bearer s3cre", "Bearer", "Basic s3cret", "s3cret", "Bearer  s3cret"} {
			status, h, body := r.ask(method, path, "", "Authorization", shown)
			r.refused(t, status, body, 401, scu.CodeUnauthorized, "")
			if !strings.HasPrefix(h.Get("WWW-Authenticate"), "Bearer") {
				t.Errorf("no WWW-Authenticate: %v", h)
			}
		}
	}
	for path, want := range map[string]int{"/health": 200, "/docs": 200, "/openapi.json": 200, "/": 200, "/assets/app.js": 200, "/session": 200} { // they hold no data
		if status, _, _ := r.ask("GET", path, ""); status != want {
			t.Errorf("%s without the key gave %d", path, status)
		}
	}
	for _, shown := range []string{"Bearer s3cret", "bearer s3cret"} {
		if status, _, _ := r.ask("GET", "/jobs", "", "Authorization", shown, "Host", "scu.example"); status != 200 {
			t.Errorf("%s gave %d", shown, status)
		}
	}
	if _, err := r.sdk.Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"}); err != nil {
		t.Error(err)
	}
	wrong, err := client.New(r.url, "wrong")
	must(t, err)
	if _, err := wrong.Jobs(t.Context(), newest); scu.CodeOf(err) != scu.CodeUnauthorized {
		t.Errorf("the SDK with a wrong key: %v", err)
	}
	if _, err := wrong.Upload(t.Context(), "x", endless{}, -1, nil); scu.CodeOf(err) != scu.CodeUnauthorized {
		t.Errorf("an upload with a wrong key: %v", err)
	}
}

func TestCheckListen(t *testing.T) {
	for address, open := range map[string]bool{
		"127.0.0.1:8000": true, "localhost:8000": true, "[::1]:8000": true, "127.9.9.9:0": true,
		"0.0.0.0:8000": false, ":8000": false, "[::]:8000": false, "10.0.0.1:8000": false, "scu.example:80": false,
	} {
		if err := CheckListen(address, ""); (err == nil) != open || err != nil && scu.CodeOf(err) != scu.CodeForbidden {
			t.Errorf("CheckListen(%s) without a key: %v", address, err)
		}
		if err := CheckListen(address, "key"); err != nil {
			t.Errorf("CheckListen(%s) with a key: %v", address, err)
		}
	}
	if err := CheckListen("127.0.0.1:8000", "key\n"); scu.CodeOf(err) != scu.CodeInvalid {
		t.Errorf("a key of two lines: %v", err)
	}
	if err := CheckListen("8000", "key"); scu.CodeOf(err) != scu.CodeInvalid {
		t.Errorf("CheckListen(8000): %v", err)
	}
}

// At shutdown an event stream ends, a request in work is answered, and Serve
// returns nil.
func TestServeEndsInOrder(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	r := start(t, func(o *Options) {
		o.Preflight = preflight(func(*scu.Config, scu.File) ([]string, string, error) {
			close(inside)
			<-leave
			return nil, "cpu", nil
		})
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ctx, l) }()
	sdk, err := client.New(l.Addr().String(), "")
	must(t, err)

	j := scu.Submission(scu.Job{Class: "cpu"}, time.Now())
	_, err = r.broker.Submit(t.Context(), j)
	must(t, err)
	stream, err := http.Get("http://" + l.Addr().String() + "/jobs/" + j.Job.ID + "/events")
	must(t, err)
	defer stream.Body.Close()
	lines := bufio.NewReader(stream.Body)
	if line, err := lines.ReadString('\n'); err != nil || line != "event: status\n" || stream.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("the stream begins with %q, %v", line, err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := sdk.Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt"})
		answered <- err
	}()
	<-inside
	stop()
	if _, err := io.ReadAll(lines); err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
	close(leave)
	if err := <-answered; err != nil {
		t.Errorf("the request in work: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	if _, err := sdk.Health(t.Context()); scu.CodeOf(err) != scu.CodeUnavailable {
		t.Errorf("after the end: %v", err)
	}

	l, err = net.Listen("tcp", "0.0.0.0:0")
	must(t, err)
	if err := r.server.Serve(t.Context(), l); scu.CodeOf(err) != scu.CodeForbidden {
		t.Errorf("Serve beyond loopback without a key: %v", err)
	}
}

// What fails inside is told to nobody but the log.
func TestFaultsOfOurs(t *testing.T) {
	r := start(t, func(o *Options) {
		o.Preflight = preflight(func(c *scu.Config, _ scu.File) ([]string, string, error) {
			if c.Seed == 1 {
				panic("at /secret/path")
			}
			return nil, "", errors.New("open /secret/path: no")
		})
	})
	for _, seed := range []string{"1", "2"} {
		status, _, body := r.ask("POST", "/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "config_overrides": {"seed": `+seed+`}}`)
		r.refused(t, status, body, 500, scu.CodeInternal, "")
		if strings.Contains(body, "secret") {
			t.Errorf("the answer tells too much: %s", body)
		}
		if left := r.stored(); len(left) != 0 {
			t.Errorf("left %v", left)
		}
	}
	id := r.submitted(t)
	r.broker.Close()
	status, _, body := r.ask("GET", "/jobs/"+id+"/status", "")
	r.refused(t, status, body, 503, scu.CodeUnavailable, "")
	status, _, body = r.ask("GET", "/health", "")
	if status != 503 || !strings.Contains(body, "unhealthy") {
		t.Errorf("health without a broker gave %d %s", status, body)
	}
	if h, err := r.sdk.Health(t.Context()); err != nil || h.Status != "unhealthy" {
		t.Errorf("the SDK's health: %+v, %v", h, err)
	}
}

// A client that leaves is counted as that, and not as a fault of the server.
func TestClientsThatLeave(t *testing.T) {
	r := start(t, nil)
	gone, leave := context.WithCancel(t.Context())
	leave()
	answer := httptest.NewRecorder()
	r.server.ServeHTTP(answer, httptest.NewRequestWithContext(gone, "GET", "http://localhost/jobs/"+r.submitted(t)+"/status", nil))
	if answer.Code != statusLeft {
		t.Errorf("it gave %d", answer.Code)
	}
	if _, _, text := r.ask("GET", "/metrics", ""); !strings.Contains(text, `status="499"} 1`) {
		t.Error("it is not counted")
	}
}

// submitted is a job that went around the API.
func (r *rig) submitted(t *testing.T) string {
	t.Helper()
	e := scu.Submission(scu.Job{Class: "cpu"}, time.Now())
	_, err := r.broker.Submit(t.Context(), e)
	must(t, err)
	return e.Job.ID
}

// Headers that a proxy would set don't say who asks.
func TestNobodySaysWhoAsks(t *testing.T) {
	r := start(t, nil)
	e := r.server.handler.(*echo.Echo)
	req := httptest.NewRequest("GET", "/", nil)
	req.RemoteAddr = "192.0.2.1:5"
	req.Header.Set("X-Forwarded-For", "10.0.0.1")
	req.Header.Set("X-Real-IP", "10.0.0.1")
	if got := e.IPExtractor(req); got != "192.0.2.1" {
		t.Errorf("asked by %s", got)
	}
}

// Connections that nobody uses take no more than their share: the next client
// waits, and its turn comes.
func TestConnectionsAreBounded(t *testing.T) {
	r := start(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.server.Serve(ctx, l) }()
	var held []net.Conn
	for i := range maxConnections {
		from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i/maxEach))}} // as many as each may
		c, err := from.Dial("tcp", l.Addr().String())
		must(t, err)
		held = append(held, c)
	}
	ask := func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, "GET", "http://"+l.Addr().String()+"/health", nil)
		must(t, err)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := ask(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one more connection: %v", err)
	}
	for _, c := range held {
		c.Close()
	}
	if err := ask(t.Context()); err != nil {
		t.Errorf("after they went: %v", err)
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
