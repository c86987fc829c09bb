package openai

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// job is a FineTuningJob.
type job struct {
	ID              string            `json:"id"`
	Object          string            `json:"object"` // "fine_tuning.job"
	CreatedAt       int64             `json:"created_at"`
	Error           *jobError         `json:"error"`
	FineTunedModel  *string           `json:"fine_tuned_model"`
	FinishedAt      *int64            `json:"finished_at"`
	Hyperparameters hyperparameters   `json:"hyperparameters"`
	Model           string            `json:"model"`
	OrganizationID  string            `json:"organization_id"`
	ResultFiles     []string          `json:"result_files"`
	Seed            int64             `json:"seed"`
	Status          string            `json:"status"`
	TrainedTokens   *int64            `json:"trained_tokens"`
	TrainingFile    string            `json:"training_file"`
	ValidationFile  *string           `json:"validation_file"`
	EstimatedFinish *int64            `json:"estimated_finish"`
	Integrations    []any             `json:"integrations"`
	Metadata        map[string]string `json:"metadata"`
	Method          method            `json:"method"`
}

type jobError struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Param   *string `json:"param"`
}

// hyperparameters as they were settled. BatchSize is the blocks of an optimiser step.
type hyperparameters struct {
	NEpochs                int     `json:"n_epochs"`
	BatchSize              int     `json:"batch_size"`
	LearningRateMultiplier float64 `json:"learning_rate_multiplier"`
}

type method struct {
	Type       string     `json:"type"` // "supervised"
	Supervised supervised `json:"supervised"`
}

type supervised struct {
	Hyperparameters hyperparameters `json:"hyperparameters"`
}

// statusOf is a job's status in this API. It has none for a paused job, which waits.
func statusOf(j scu.Job) string {
	switch j.Status {
	case scu.Completed:
		return "succeeded"
	case scu.Running, scu.Failed, scu.Cancelled:
		return string(j.Status)
	}
	return "queued"
}

// view is a job as this API shows it, with its newest step if that is known.
func (h *handler) view(j scu.Job, newest *scu.Metrics) job {
	c := j.Config
	hp := hyperparameters{NEpochs: c.Epochs, BatchSize: c.BatchSize * c.GradientAccumulationSteps, LearningRateMultiplier: 1}
	if j.LearningRateMultiplier != 0 {
		hp.LearningRateMultiplier = j.LearningRateMultiplier
	}
	v := job{
		ID: jobName(j.ID), Object: "fine_tuning.job", CreatedAt: j.CreatedAt.Unix(), Hyperparameters: hp,
		Model: h.NameOf(j.BaseModel), OrganizationID: "scu", ResultFiles: []string{}, Seed: c.Seed, Status: statusOf(j),
		TrainingFile: filePrefix + j.TrainData.ID, Integrations: []any{}, Metadata: j.Metadata,
		Method: method{"supervised", supervised{hp}},
	}
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	if j.ValData != nil {
		id := filePrefix + j.ValData.ID
		v.ValidationFile = &id
	}
	if j.CompletedAt != nil {
		at := j.CompletedAt.Unix()
		v.FinishedAt = &at
	}
	if newest != nil {
		v.TrainedTokens = &newest.Tokens
		if j.Status == scu.Running && newest.ETAMinutes > 0 {
			at := time.Now().Add(time.Duration(newest.ETAMinutes * float64(time.Minute))).Unix()
			v.EstimatedFinish = &at
		}
	}
	if j.Adapter != nil {
		name := h.adapterModel(j, 0)
		v.FineTunedModel, v.TrainedTokens = &name, &j.Adapter.Metrics.Tokens
		v.ResultFiles = []string{resultID(j.ID, metricsFile), resultID(j.ID, adapterFile)}
	}
	if j.Error != nil {
		p, _ := problemOf(renamed(j.Error, jobFields))
		v.Error = &jobError{Code: *p.Code, Message: p.Message, Param: p.Param}
	}
	return v
}

// show answers with a job as it is.
func (h *handler) show(c echo.Context, id string) error {
	ctx := c.Request().Context()
	j, err := h.Job(ctx, id)
	if err != nil {
		return err
	}
	var newest *scu.Metrics
	if j.Adapter == nil {
		if newest, err = h.Latest(ctx, id); err != nil {
			return err
		}
	}
	return reply(c, h.view(j, newest))
}

func (h *handler) retrieveJob(c echo.Context) error {
	id, err := jobID(c.Param("id"))
	if err != nil {
		return err
	}
	return h.show(c, id)
}

func (h *handler) cancelJob(c echo.Context) error { return h.change(c, h.Cancel) }
func (h *handler) pauseJob(c echo.Context) error  { return h.change(c, h.Pause) }
func (h *handler) resumeJob(c echo.Context) error { return h.change(c, h.Resume) }

// change answers with a job after something was done to it.
func (h *handler) change(c echo.Context, do func(ctx context.Context, id string) error) error {
	id, err := jobID(c.Param("id"))
	if err != nil {
		return err
	}
	err = do(c.Request().Context(), id)
	if scu.CodeOf(err) == scu.CodeConflict {
		if j, e := h.Job(c.Request().Context(), id); e == nil && j.Status.Ended() {
			return coded(err, jobEnded)
		}
	}
	if err != nil {
		return err
	}
	return h.show(c, id)
}

func (h *handler) listJobs(c echo.Context) error {
	ctx, q := c.Request().Context(), c.QueryParams()
	limit, err := limitOf(q, 20, 100)
	if err != nil {
		return err
	}
	wanted := metadataFilter(q)
	f := scu.JobFilter{Limit: scu.MaxJobs}
	if wanted == nil {
		f.Limit = limit + 1
	}
	if after := q.Get("after"); after != "" {
		if f.After, err = jobID(after); err == nil {
			_, err = h.Job(ctx, f.After)
		}
		if scu.CodeOf(err) == scu.CodeNotFound {
			return unknownAfter(after)
		}
		if err != nil {
			return err
		}
	}
	var found []job
	for len(found) <= limit {
		rows, err := h.Jobs(ctx, f)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if wanted == nil || wanted(r.Job.Metadata) {
				found = append(found, h.view(r.Job, nil))
			}
			f.After = r.Job.ID
		}
		if len(rows) < f.Limit {
			break
		}
	}
	more := len(found) > limit
	return reply(c, listed(found[:min(limit, len(found))], more, func(j job) string { return j.ID }))
}

// metadataFilter is what metadata[k]=v asks for; nil if nothing is.
func metadataFilter(q url.Values) func(map[string]string) bool {
	pairs := map[string]string{}
	for name, v := range q {
		if key, ok := strings.CutPrefix(name, "metadata["); ok && strings.HasSuffix(key, "]") {
			pairs[strings.TrimSuffix(key, "]")] = v[0]
		}
	}
	switch {
	case q.Get("metadata") == "null":
		return func(m map[string]string) bool { return len(m) == 0 }
	case len(pairs) == 0:
		return nil
	}
	return func(m map[string]string) bool {
		for k, v := range pairs {
			if has, ok := m[k]; !ok || has != v {
				return false
			}
		}
		return true
	}
}
