package store

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shannon-control/scu"
)

// Monitor counts what a projector does, for Prometheus. A nil Monitor counts nothing.
type Monitor struct {
	entries *prometheus.CounterVec
	skipped prometheus.Counter
	faults  prometheus.Counter
	rebuilt prometheus.Counter
	lag     prometheus.Histogram
}

// NewMonitor makes a monitor and registers its metrics.
func NewMonitor(r prometheus.Registerer) *Monitor {
	m := &Monitor{
		entries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "scu_projector_entries_total", Help: "Entries moved into the read model."}, []string{"stream"}),
		skipped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "scu_projector_skipped_total", Help: "Entries passed over since they can't be read or stored; each is in the log."}),
		faults: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "scu_projector_faults_total", Help: "Times that the database or NATS failed the projector, or another one was at work."}),
		rebuilt: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "scu_projector_rebuilds_total", Help: "Times that a damaged read model was made anew from the log."}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "scu_projector_lag_seconds", Help: "Age of a batch's newest entry when the read model has it, by the clocks of both machines.",
			Buckets: []float64{.005, .02, .1, .5, 2, 10, 60, 600}}),
	}
	m.entries.WithLabelValues("state")
	m.entries.WithLabelValues("metrics")
	r.MustRegister(m.entries, m.skipped, m.faults, m.rebuilt, m.lag)
	return m
}

// projected counts a batch that is in the store.
func (m *Monitor) projected(b scu.Batch, skipped int, now time.Time) {
	if m == nil {
		return
	}
	m.entries.WithLabelValues("state").Add(float64(len(b.State)))
	m.entries.WithLabelValues("metrics").Add(float64(len(b.Metrics)))
	m.skipped.Add(float64(skipped))
	var newest time.Time
	if n := len(b.State); n > 0 {
		newest = b.State[n-1].Event.Time
	}
	if n := len(b.Metrics); n > 0 && b.Metrics[n-1].Metrics.Timestamp.After(newest) {
		newest = b.Metrics[n-1].Metrics.Timestamp
	}
	if !newest.IsZero() {
		m.lag.Observe(max(0, now.Sub(newest).Seconds()))
	}
}

func (m *Monitor) failed() {
	if m != nil {
		m.faults.Inc()
	}
}

func (m *Monitor) rebuilds() {
	if m != nil {
		m.rebuilt.Inc()
	}
}
