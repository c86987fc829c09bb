package scu

import (
	"math"
	"strconv"
	"time"
)

// MetricColumn is one figure of [Metrics]: its name in JSON and SQL, and a pointer to it.
type MetricColumn struct {
	Name string
	// Of returns a pointer to the figure in m: *string, *int, *int64, *float64,
	// **float64 (nil if it is absent) or *time.Time.
	Of func(m *Metrics) any
	// CSV is its name in CSV tables; empty if it is in none.
	CSV string
}

// MetricColumns is the one table of a step's figures: JSON, SQL, CSV and checks go by it.
var MetricColumns = []MetricColumn{
	{"job_id", func(m *Metrics) any { return &m.JobID }, ""},
	{"attempt", func(m *Metrics) any { return &m.Attempt }, ""},
	{"step", func(m *Metrics) any { return &m.Step }, "step"},
	{"total_steps", func(m *Metrics) any { return &m.Steps }, ""},
	{"epoch", func(m *Metrics) any { return &m.Epoch }, ""},
	{"loss", func(m *Metrics) any { return &m.Loss }, "loss"},
	{"ce", func(m *Metrics) any { return &m.CE }, "ce"},
	{"data_bpt", func(m *Metrics) any { return &m.DataBPT }, "data_bpt"},
	{"param_bpt", func(m *Metrics) any { return &m.ParamBPT }, "param_bpt"},
	{"total_bpt", func(m *Metrics) any { return &m.TotalBPT }, ""},
	{"s_ratio", func(m *Metrics) any { return &m.S }, "s_ratio"},
	{"target_s", func(m *Metrics) any { return &m.TargetS }, "target_s"},
	{"s_hat", func(m *Metrics) any { return &m.SHat }, "s_hat"},
	{"lambda_value", func(m *Metrics) any { return &m.Lambda }, "lambda"},
	{"lambda_next", func(m *Metrics) any { return &m.LambdaNext }, ""},
	{"lambda_min", func(m *Metrics) any { return &m.LambdaMin }, "lambda_min"},
	{"lambda_max", func(m *Metrics) any { return &m.LambdaMax }, "lambda_max"},
	{"learning_rate", func(m *Metrics) any { return &m.LearningRate }, "lr"},
	{"grad_norm", func(m *Metrics) any { return &m.GradNorm }, "grad_norm"},
	{"val_loss", func(m *Metrics) any { return &m.ValLoss }, "val_loss"},
	{"tokens", func(m *Metrics) any { return &m.Tokens }, ""},
	{"tokens_per_second", func(m *Metrics) any { return &m.TokensPerSecond }, "tokens_per_sec"},
	{"eta_minutes", func(m *Metrics) any { return &m.ETAMinutes }, ""},
	{"timestamp", func(m *Metrics) any { return &m.Timestamp }, ""},
}

// The two CSV tables of a job's steps. They begin as the original training_metrics.csv does,
// for the sake of those who read it by position.
var (
	// CSVFile is training_metrics.csv in an adapter's folder. What the clock decides, as the
	// rate of tokens, isn't there: the same job gives the same bytes.
	CSVFile = csvColumns("step", "data_bpt", "param_bpt", "s_ratio", "lambda", "loss", "lr", "ce", "s_hat", "grad_norm", "val_loss", "target_s", "lambda_min", "lambda_max")
	// CSVLive is GET /jobs/{id}/metrics.csv: the same, and the rate of tokens.
	CSVLive = csvColumns("step", "data_bpt", "param_bpt", "s_ratio", "lambda", "loss", "lr", "tokens_per_sec", "ce", "s_hat", "grad_norm", "val_loss", "target_s", "lambda_min", "lambda_max")
)

// CSVTable is the columns of a CSV table of steps.
type CSVTable []MetricColumn

func csvColumns(names ...string) CSVTable {
	var out CSVTable
	for _, name := range names {
		for _, c := range MetricColumns {
			if c.CSV == name {
				out = append(out, c)
			}
		}
	}
	return out
}

// AppendHeader appends the table's first line to dst.
func (t CSVTable) AppendHeader(dst []byte) []byte {
	for _, c := range t {
		dst = append(append(dst, c.CSV...), ',')
	}
	dst[len(dst)-1] = '\n'
	return dst
}

// Append appends m's line to dst; figures have nine digits.
func (t CSVTable) Append(dst []byte, m *Metrics) []byte {
	for _, c := range t {
		switch x := c.Of(m).(type) {
		case *int:
			dst = strconv.AppendInt(dst, int64(*x), 10)
		case *int64:
			dst = strconv.AppendInt(dst, *x, 10)
		case *float64:
			dst = strconv.AppendFloat(dst, *x, 'g', 9, 64)
		case **float64:
			if *x != nil {
				dst = strconv.AppendFloat(dst, **x, 'g', 9, 64)
			}
		}
		dst = append(dst, ',')
	}
	dst[len(dst)-1] = '\n'
	return dst
}

// Check returns why m can't be kept, as CodeInvalid: a bad id, a negative count, a figure
// that is not finite, a time outside the years 1 to 9999.
func (m *Metrics) Check() error {
	if !ValidJobID(m.JobID) {
		return Errorf(CodeInvalid, "%.40q is not a job id", m.JobID)
	}
	for _, c := range MetricColumns {
		switch x := c.Of(m).(type) {
		case *int:
			if *x < 0 {
				return Errorf(CodeInvalid, "metrics of job %s have a negative %s, %d", m.JobID, c.Name, *x)
			}
		case *float64:
			if !finite(*x) {
				return m.unfit(c)
			}
		case **float64:
			if *x != nil && !finite(**x) {
				return m.unfit(c)
			}
		case *time.Time:
			if !Storable(*x) {
				return Errorf(CodeInvalid, "metrics of job %s, step %d, have a time outside the years 1 to 9999", m.JobID, m.Step)
			}
		}
	}
	return nil
}

func (m *Metrics) unfit(c MetricColumn) error {
	return Errorf(CodeInvalid, "metrics of job %s, step %d, have a %s that is not finite", m.JobID, m.Step, c.Name)
}

func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) }

// Storable reports whether databases have room for t: the years 1 to 9999.
func Storable(t time.Time) bool { y := t.UTC().Year(); return y >= 1 && y <= 9999 }
