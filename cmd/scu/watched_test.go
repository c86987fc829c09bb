package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const rules, dashboard = "../../deploy/prometheus/scu.rules.yml", "../../deploy/grafana/scu.json"

// promtool is Prometheus's own check of rules; scripts/setup-test.sh gets it.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		path, err = filepath.Abs("../../bin/promtool")
		check(t, err)
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestAlertRules(t *testing.T) {
	promtool(t, "check", "rules", rules)
	promtool(t, "check", "config", "--syntax-only", "../../deploy/prometheus/prometheus.yml")
	promtool(t, "test", "rules", "../../deploy/prometheus/scu.rules_test.yml")
}

// Rules and dashboard ask for metrics that a server tells, by their names and labels'
// names; and a job is one trace, from the request to the phases of its training.
func TestWatched(t *testing.T) {
	spans := make(chan *trace.Span, 1000)
	otel := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		var got collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(b, &got)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("%s: %v", r.URL.Path, err)
		}
		for _, resource := range got.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				for _, s := range scope.Spans {
					spans <- s
				}
			}
		}
	}))
	defer otel.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", otel.URL)
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
	data := t.TempDir()
	check(t, os.WriteFile(filepath.Join(data, "a.txt"), []byte(strings.Repeat("The lamp was lit at dusk and put out at dawn. ", 200)), 0o600))
	c, url := serving(t, "--data", filepath.Join(data, "server"), "--data-dirs", data)
	out, err := exec.Command("scu", "train", "--api-url", url, "--base-model", "bookworm-2m", "--train-data", filepath.Join(data, "a.txt"),
		"--set", "steps=2", "--set", "block_size=128", "--wait").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r, err := http.Get(url + "/metrics")
	check(t, err)
	defer r.Body.Close()
	page, err := io.ReadAll(r.Body)
	check(t, err)
	for _, path := range []string{rules, dashboard} {
		asked, err := os.ReadFile(path)
		check(t, err)
		for _, name := range regexp.MustCompile(`\bscu_[a-z_]+`).FindAllString(string(asked), -1) {
			if name != "scu_queue_jobs" && name != "scu_queue_oldest_seconds" && !strings.Contains(string(page), "\n"+name) { // nothing waits
				t.Errorf("%s asks for %s, which the server doesn't tell", path, name)
			}
		}
	}
	var panels struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	asked, err := os.ReadFile(dashboard)
	check(t, err)
	check(t, json.Unmarshal(asked, &panels))
	var expressions []map[string]any
	for _, p := range panels.Panels {
		for _, target := range p.Targets {
			expressions = append(expressions, map[string]any{"record": "panel:expr", "expr": target.Expr})
		}
	}
	b, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "panels", "rules": expressions}}})
	check(t, err)
	asRules := filepath.Join(data, "panels.yml") // JSON is YAML
	check(t, os.WriteFile(asRules, b, 0o600))
	promtool(t, "check", "rules", "--lint=none", asRules)

	check(t, c.Process.Signal(os.Interrupt))
	check(t, c.Wait())
	var all []*trace.Span
	for len(spans) > 0 {
		all = append(all, <-spans)
	}
	span := func(name string) *trace.Span {
		i := slices.IndexFunc(all, func(s *trace.Span) bool { return s.Name == name })
		if i < 0 {
			var names []string
			for _, s := range all {
				names = append(names, s.Name)
			}
			t.Fatalf("no span %q in %v", name, names)
		}
		return all[i]
	}
	request, attempt := span("POST /jobs/submit"), span("attempt")
	if string(attempt.ParentSpanId) != string(request.SpanId) {
		t.Errorf("the attempt is a child of %x, not of the request %x", attempt.ParentSpanId, request.SpanId)
	}
	for _, phase := range []string{"loading_model", "preparing_data", "training", "saving_adapter"} {
		if s := span(phase); string(s.ParentSpanId) != string(attempt.SpanId) || string(s.TraceId) != string(request.TraceId) {
			t.Errorf("%s is not part of the attempt in the request's trace", phase)
		}
	}
}
