package scu_test

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// The table has every field of Metrics under its JSON name, in order.
func TestColumnsAreTheFields(t *testing.T) {
	fields := reflect.TypeFor[scu.Metrics]()
	if len(scu.MetricColumns) != fields.NumField() {
		t.Fatalf("%d columns of %d fields", len(scu.MetricColumns), fields.NumField())
	}
	m := new(scu.Metrics)
	for i, c := range scu.MetricColumns {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if c.Name != name || c.Of(m) != reflect.ValueOf(m).Elem().Field(i).Addr().Interface() {
			t.Errorf("column %d is %s, the field %s", i, c.Name, name)
		}
	}
}

func TestCSV(t *testing.T) {
	val := 2.5
	m := scu.Metrics{Step: 3, DataBPT: 1, ParamBPT: 1.0 / 3, S: 0.25, Lambda: 1e-12, Loss: 2, LearningRate: 5e-5, CE: 1.5, TargetS: 0.01, SHat: 0.2, GradNorm: 123456789012}
	m.TokensPerSecond = 1234.5 // of the clock: not in the file
	got := string(scu.CSVFile.Append(scu.CSVFile.AppendHeader(nil), &m))
	low, high := 1e-6, 1e4
	m.ValLoss, m.LambdaMin, m.LambdaMax = &val, &low, &high
	got = string(scu.CSVFile.Append([]byte(got), &m))
	want := "step,data_bpt,param_bpt,s_ratio,lambda,loss,lr,ce,s_hat,grad_norm,val_loss,target_s,lambda_min,lambda_max\n" +
		"3,1,0.333333333,0.25,1e-12,2,5e-05,1.5,0.2,1.23456789e+11,,0.01,,\n" +
		"3,1,0.333333333,0.25,1e-12,2,5e-05,1.5,0.2,1.23456789e+11,2.5,0.01,1e-06,10000\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	got = string(scu.CSVLive.Append(scu.CSVLive.AppendHeader(nil), &m))
	want = "step,data_bpt,param_bpt,s_ratio,lambda,loss,lr,tokens_per_sec,ce,s_hat,grad_norm,val_loss,target_s,lambda_min,lambda_max\n" +
		"3,1,0.333333333,0.25,1e-12,2,5e-05,1234.5,1.5,0.2,1.23456789e+11,2.5,0.01,1e-06,10000\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestCheckMetrics(t *testing.T) {
	nan := math.NaN()
	good := func() *scu.Metrics { return &scu.Metrics{JobID: scu.NewJobID(), Timestamp: time.Now()} }
	if err := good().Check(); err != nil {
		t.Error(err)
	}
	for name, spoil := range map[string]func(*scu.Metrics){
		"id":       func(m *scu.Metrics) { m.JobID = "x" },
		"step":     func(m *scu.Metrics) { m.Step = -1 },
		"loss":     func(m *scu.Metrics) { m.Loss = math.Inf(1) },
		"val_loss": func(m *scu.Metrics) { m.ValLoss = &nan },
		"time":     func(m *scu.Metrics) { m.Timestamp = time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		m := good()
		spoil(m)
		if err := m.Check(); scu.CodeOf(err) != scu.CodeInvalid || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
