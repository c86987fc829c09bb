package openai

import (
	"fmt"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// checkpoint is a FineTuningJobCheckpoint.
type checkpoint struct {
	Object     string             `json:"object"` // "fine_tuning.job.checkpoint"
	ID         string             `json:"id"`
	CreatedAt  int64              `json:"created_at"`
	Model      string             `json:"fine_tuned_model_checkpoint"`
	Job        string             `json:"fine_tuning_job_id"`
	StepNumber int                `json:"step_number"`
	Metrics    map[string]float64 `json:"metrics"`
}

func (h *handler) listCheckpoints(c echo.Context) error {
	q := c.QueryParams()
	id, err := jobID(c.Param("id"))
	if err != nil {
		return err
	}
	limit, err := limitOf(q, 10, 100)
	if err != nil {
		return err
	}
	j, err := h.Job(c.Request().Context(), id)
	if err != nil {
		return err
	}
	all := make([]checkpoint, 0, len(j.Checkpoints))
	for _, k := range slices.Backward(j.Checkpoints) {
		metrics := map[string]float64{"step": float64(k.Step), "train_loss": k.CE}
		if k.ValLoss != nil {
			metrics["valid_loss"], metrics["full_valid_loss"] = *k.ValLoss, *k.ValLoss
		}
		all = append(all, checkpoint{
			Object: "fine_tuning.job.checkpoint", ID: fmt.Sprintf("ftckpt-%s-%d", j.ID, k.Step), CreatedAt: k.CreatedAt.Unix(),
			Model: h.adapterModel(j, k.Step), Job: jobName(j.ID), StepNumber: k.Step, Metrics: metrics,
		})
	}
	if after := q.Get("after"); after != "" {
		at := slices.IndexFunc(all, func(k checkpoint) bool { return k.ID == after })
		if at < 0 {
			return unknownAfter(after)
		}
		all = all[at+1:]
	}
	more := len(all) > limit
	return reply(c, listed(all[:min(limit, len(all))], more, func(k checkpoint) string { return k.ID }))
}

// adapterKey is where the adapter of a job, or of a checkpoint of it, is stored.
func adapterKey(j scu.Job, step int) (key scu.AdapterKey, ok bool) {
	if step == 0 {
		return j.AdapterKey(), j.Adapter != nil
	}
	i := slices.IndexFunc(j.Checkpoints, func(c scu.Checkpoint) bool { return c.Step == step })
	if i < 0 {
		return key, false
	}
	return j.Checkpoints[i].Key(j.ID), true
}
