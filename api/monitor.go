package api

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/shannon-control/scu"
)

// monitor is what GET /metrics tells Prometheus.
type monitor struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMonitor(r *prometheus.Registry, s service) *monitor {
	mon := &monitor{
		registry: r,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "scu_http_requests_total", Help: "HTTP requests answered."}, []string{"method", "route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "scu_http_request_seconds", Help: "Time to answer, streams to their end.",
			Buckets: []float64{.001, .005, .02, .1, .5, 2, 10, 60}}, []string{"method", "route"}),
	}
	r.MustRegister(mon.requests, mon.seconds, s)
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

// service asks what is true of the service as a whole when Prometheus asks. Every API
// tells the same: take the maximum over them.
type service struct {
	m scu.ReadModel
	b Broker
	d *damaged

	patience time.Duration // with all of them
}

var (
	jobsMetric    = prometheus.NewDesc("scu_jobs", "Jobs by status.", []string{"status"}, nil)
	waitingMetric = prometheus.NewDesc("scu_queue_jobs", "Jobs that wait, by class and priority.", []string{"class", "priority"}, nil)
	oldestMetric  = prometheus.NewDesc("scu_queue_oldest_seconds", "Age of the job that waits longest, by class and priority.", []string{"class", "priority"}, nil)
	trainerMetric = prometheus.NewDesc("scu_trainers", "Trainers that are there, by what they do.", []string{"state"}, nil)
	memoryMetric  = prometheus.NewDesc("scu_trainer_memory_bytes", "Memory that a trainer can give a job.", []string{"trainer"}, nil)
	streamMetric  = prometheus.NewDesc("scu_stream_bytes", "What a stream has.", []string{"stream"}, nil)
	limitMetric   = prometheus.NewDesc("scu_stream_max_bytes", "What a stream may have: of the metrics the oldest go at it, the log takes no new jobs beyond it with what it keeps.", []string{"stream"}, nil)
	keptMetric    = prometheus.NewDesc("scu_stream_reserved_bytes", "What a stream keeps free for what is in it: the log for the jobs that have not ended.", []string{"stream"}, nil)
	damagedMetric = prometheus.NewDesc("scu_damaged_blobs", "Stored blobs that are known to be damaged or lost.", []string{"kind"}, nil)
	checkedMetric = prometheus.NewDesc("scu_blobs_verified_timestamp_seconds", "When all stored blobs had been read through last; 0: not yet.", nil, nil)
	unreadMetric  = prometheus.NewDesc("scu_blobs_unread", "Stored blobs that could not be read when all were; they are read again every hour.", nil, nil)
	behindMetric  = prometheus.NewDesc("scu_read_model_behind_entries", "Entries that the read model hasn't yet.", []string{"stream"}, nil)
)

func (service) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range append([]*prometheus.Desc{jobsMetric, waitingMetric, oldestMetric, trainerMetric, memoryMetric, behindMetric, streamMetric, limitMetric, keptMetric, damagedMetric, checkedMetric, unreadMetric}, gpuMetrics[:]...) {
		ch <- d
	}
}

func (s service) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	// What can't be asked is left out: the rest of the answer is worth having.
	if counts, err := s.m.Counts(ctx, ""); err == nil {
		for _, status := range scu.Statuses {
			gauge(jobsMetric, float64(counts[status]), string(status))
		}
	}
	if levels, err := s.m.Waiting(ctx); err == nil {
		for _, l := range levels {
			gauge(waitingMetric, float64(l.Jobs), l.Class, strconv.Itoa(l.Priority))
			gauge(oldestMetric, time.Since(l.Oldest).Seconds(), l.Class, strconv.Itoa(l.Priority))
		}
	}
	if trainers, err := s.b.Trainers(ctx); err == nil {
		busy := 0
		for _, t := range trainers {
			if t.Job != "" {
				busy++
			}
			gauge(memoryMetric, float64(t.Memory), t.Trainer)
			gpuGauges(gauge, t)
		}
		gauge(trainerMetric, float64(busy), "busy")
		gauge(trainerMetric, float64(len(trainers)-busy), "idle")
	}
	if streams, err := s.b.Streams(ctx); err == nil {
		for _, u := range streams {
			gauge(streamMetric, float64(u.Bytes), u.Name)
			gauge(limitMetric, float64(u.MaxBytes), u.Name)
			gauge(keptMetric, float64(u.Reserved), u.Name)
		}
	}
	counts, verified := s.d.counts()
	for _, kind := range scu.BlobKinds {
		gauge(damagedMetric, float64(counts[kind]), string(kind))
	}
	last := time.Unix(0, 0)
	if end := verified.LastEnd(); end != nil {
		last = *end
	}
	gauge(checkedMetric, float64(last.Unix()))
	gauge(unreadMetric, float64(verified.Unread))
	end, err := s.b.End(ctx)
	if err != nil {
		return
	}
	if at, err := s.m.Position(ctx); err == nil {
		gauge(behindMetric, float64(end.State-min(at.State, end.State)), "state")
		gauge(behindMetric, float64(end.Metrics-min(at.Metrics, end.Metrics)), "metrics")
	}
}

// untraced leaves out what is asked all day by machines that watch.
func untraced(c echo.Context) bool {
	return slices.Contains([]string{"/health", "/readyz", "/livez", "/metrics"}, c.Request().URL.Path)
}
