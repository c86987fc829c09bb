package broker

import "github.com/prometheus/client_golang/prometheus"

// Monitor counts what the connections of a process do, for Prometheus. A nil Monitor
// counts nothing.
type Monitor struct {
	appends    prometheus.Counter
	rivals     prometheus.Counter
	resends    prometheus.Counter
	reconnects prometheus.Counter
}

// NewMonitor makes a monitor and registers its metrics.
func NewMonitor(r prometheus.Registerer) *Monitor {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		r.MustRegister(c)
		return c
	}
	return &Monitor{
		appends:    counter("scu_log_appends_total", "Entries that this process added to the log."),
		rivals:     counter("scu_log_rivals_total", "Entries that were refused since another was faster; they are made anew."),
		resends:    counter("scu_log_resends_total", "Entries that were sent again since no answer came."),
		reconnects: counter("scu_nats_reconnects_total", "Connections to NATS that broke and came back."),
	}
}

func (m *Monitor) appended() {
	if m != nil {
		m.appends.Inc()
	}
}

func (m *Monitor) rival() {
	if m != nil {
		m.rivals.Inc()
	}
}

func (m *Monitor) resent() {
	if m != nil {
		m.resends.Inc()
	}
}

func (m *Monitor) reconnected() {
	if m != nil {
		m.reconnects.Inc()
	}
}
