package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/shannon-control/scu"
)

// monitor is what GET /metrics tells Prometheus. It has its own registry.
type monitor struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMonitor(m scu.ReadModel) *monitor {
	mon := &monitor{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "scu_http_requests_total", Help: "HTTP requests answered."}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "scu_http_request_seconds", Help: "Time to answer, streams to their end.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 60}}, []string{"method", "route"}),
	}
	mon.registry.MustRegister(mon.requests, mon.seconds, jobCounts{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return mon
}

func (m *monitor) request(method, route string, status int, took time.Duration) {
	if route == "" {
		route = "none"
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
	default:
		method = "other" // clients could make up labels without end
	}
	m.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(method, route).Observe(took.Seconds())
}

func (m *monitor) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// jobCounts asks the read model when Prometheus asks.
type jobCounts struct{ scu.ReadModel }

var jobsMetric = prometheus.NewDesc("scu_jobs", "Jobs by status.", []string{"status"}, nil)

func (jobCounts) Describe(ch chan<- *prometheus.Desc) { ch <- jobsMetric }

func (c jobCounts) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), healthPatience)
	defer cancel()
	counts, err := c.Counts(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(jobsMetric, err)
		return
	}
	for _, status := range scu.Statuses {
		ch <- prometheus.MustNewConstMetric(jobsMetric, prometheus.GaugeValue, float64(counts[status]), string(status))
	}
}
