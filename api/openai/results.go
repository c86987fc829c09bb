package openai

import (
	"context"
	"encoding/csv"
	"io"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// finished is a job that has results.
func (h *handler) finished(c echo.Context, id string) (scu.Job, error) {
	j, err := h.Job(c.Request().Context(), id)
	if err == nil && j.Adapter == nil {
		err = scu.Errorf(scu.CodeNotFound, "job %s has no result files; it is %s", jobName(id), statusOf(j))
	}
	return j, err
}

// result describes one of a job's result files.
func (h *handler) result(c echo.Context, j scu.Job, kind string) (file, error) {
	f := file{ID: resultID(j.ID, kind), Object: "file", CreatedAt: j.CompletedAt.Unix(), Purpose: results, Status: "processed"}
	if kind == adapterFile {
		f.Bytes, f.Filename = j.Adapter.Size, j.Adapter.Name
		return f, nil
	}
	var err error
	f.Filename = metricsName(j)
	f.Bytes, err = h.writeMetrics(c.Request().Context(), j.ID, io.Discard)
	return f, err
}

func metricsName(j scu.Job) string { return j.ID + "_metrics.csv" }

// columns of the file of metrics: those of OpenAI's, of which accuracies aren't measured
// here, then ours.
var columns = []string{
	"step", "train_loss", "train_accuracy", "valid_loss", "valid_mean_token_accuracy",
	"data_bpt", "param_bpt", "s_ratio", "lambda", "lr",
}

// stepPage is how many steps are read at a time.
const stepPage = 1000

// writeMetrics writes the file of a job's metrics, and returns its length in bytes.
func (h *handler) writeMetrics(ctx context.Context, id string, to io.Writer) (int64, error) {
	if err := h.StepsCaughtUp(ctx); err != nil { // the file of a completed job is whole
		return 0, err
	}
	n := &counter{to: to}
	w := csv.NewWriter(n)
	p := scu.StepPage{Limit: stepPage}
	if err := w.Write(columns); err != nil {
		return 0, err
	}
	number := func(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }
	for {
		rows, more, err := h.Steps(ctx, id, p)
		if err != nil {
			return 0, err
		}
		for _, m := range rows {
			valid := ""
			if m.ValLoss != nil {
				valid = number(*m.ValLoss)
			}
			if err := w.Write([]string{strconv.Itoa(m.Step), number(m.CE), "", valid, "",
				number(m.DataBPT), number(m.ParamBPT), number(m.S), number(m.Lambda), number(m.LearningRate)}); err != nil {
				return 0, err
			}
			p.AfterStep = m.Step
		}
		if !more {
			break
		}
	}
	w.Flush()
	return n.n, w.Error()
}

type counter struct {
	to io.Writer
	n  int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	return n, err
}
