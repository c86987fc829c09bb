package trainer

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shannon-control/scu"
)

// Monitor counts what the trainers of a process do, for Prometheus. A nil Monitor
// counts nothing.
type Monitor struct {
	pickup   prometheus.Histogram
	step     prometheus.Histogram
	tokens   prometheus.Counter
	attempts *prometheus.CounterVec
	running  prometheus.Gauge
}

// How an attempt ends, as Monitor tells it.
const (
	endCompleted  = "completed"
	endFailed     = "failed"
	endHandedBack = "handed_back" // another trainer or a later try goes on
	endOver       = "over"        // cancelled, or another trainer's by now
)

// NewMonitor makes a monitor and registers its metrics.
func NewMonitor(r prometheus.Registerer) *Monitor {
	m := &Monitor{
		pickup: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "scu_trainer_pickup_seconds", Help: "From a job's submission to its first attempt.",
			Buckets: []float64{.002, .005, .01, .05, .2, 1, 5, 30, 300, 3600, 6 * 3600}}),
		step: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "scu_trainer_step_seconds", Help: "Time of an optimiser step, validation included.",
			Buckets: []float64{.005, .02, .1, .3, 1, 3, 10, 30, 120}}),
		tokens: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "scu_trainer_tokens_total", Help: "Tokens trained on."}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "scu_trainer_attempts_total", Help: "Attempts at jobs, by how they ended."}, []string{"end"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "scu_trainer_running_jobs", Help: "Jobs that this process trains now."}),
	}
	for _, end := range []string{endCompleted, endFailed, endHandedBack, endOver} {
		m.attempts.WithLabelValues(end)
	}
	r.MustRegister(m.pickup, m.step, m.tokens, m.attempts, m.running)
	return m
}

// started counts an attempt that begins; the returned function is called at its end.
func (m *Monitor) started(j scu.Job, now time.Time) func(end string) {
	if m == nil {
		return func(string) {}
	}
	if j.Attempt == 1 {
		m.pickup.Observe(max(0, now.Sub(j.CreatedAt).Seconds()))
	}
	m.running.Inc()
	return func(end string) {
		m.running.Dec()
		m.attempts.WithLabelValues(end).Inc()
	}
}

// stepped counts a step and its tokens.
func (m *Monitor) stepped(tokens int64, took time.Duration) {
	if m == nil {
		return
	}
	m.step.Observe(took.Seconds())
	m.tokens.Add(float64(tokens))
}
