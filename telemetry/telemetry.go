// Package telemetry is how a process of the service is watched from outside: a
// registry of Prometheus metrics, the handler that shows it beside profiles and
// health, and traces in OpenTelemetry's form.
package telemetry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewRegistry makes a registry with what every process tells: Go's and the operating
// system's figures, and which version it is.
func NewRegistry(version string) *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "scu_build_info", Help: "1; the version is the label.", ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	r.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// Metrics shows a registry to Prometheus.
func Metrics(r prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Profiles is Go's profiler, below /debug/pprof/. A profile shows the program's
// functions and command line, and taking one costs time: keep it behind a key.
func Profiles() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /debug/pprof/", pprof.Index)
	m.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	m.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	m.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	m.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return m
}

// Page is what a process without an API answers.
type Page struct {
	Registry prometheus.Gatherer
	// Ready returns why the process can't do its work now; nil if it can.
	Ready func(context.Context) error
	// Guard admits requests for all but /livez and /readyz.
	Guard func(http.Handler) http.Handler
}

// readyTime bounds the question whether a process is ready.
const readyTime = 2 * time.Second

func (p Page) handler() http.Handler {
	guarded := http.NewServeMux()
	guarded.Handle("GET /metrics", Metrics(p.Registry))
	guarded.Handle("/debug/pprof/", Profiles())
	m := http.NewServeMux()
	m.Handle("/", p.Guard(guarded))
	m.HandleFunc("GET /livez", func(http.ResponseWriter, *http.Request) {})
	m.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTime)
		defer cancel()
		if err := p.Ready(ctx); err != nil {
			http.Error(w, "not ready; the log says why", http.StatusServiceUnavailable)
		}
	})
	return m
}

// Serve answers on l until ctx ends.
func (p Page) Serve(ctx context.Context, l net.Listener) error {
	s := &http.Server{Handler: p.handler(), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second,
		IdleTimeout: 2 * time.Minute, WriteTimeout: 5 * time.Minute, MaxHeaderBytes: 16 << 10}
	defer context.AfterFunc(ctx, func() { s.Close() })()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
