package openai

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// event is a FineTuningJobEvent.
type event struct {
	Object    string         `json:"object"` // "fine_tuning.job.event"
	ID        string         `json:"id"`
	CreatedAt int64          `json:"created_at"`
	Level     string         `json:"level"` // info, warn or error
	Message   string         `json:"message"`
	Type      string         `json:"type"` // message or metrics
	Data      map[string]any `json:"data"`

	at time.Time
}

const eventPrefix = "ftevent-"

// told makes the messages of an entry of the log, after the one before it. Their ids are
// made of the entry's place in the log, which stays.
func told(e, before scu.LogEntry) (out []event) {
	j := e.Event.Job
	say := func(level, format string, args ...any) {
		out = append(out, event{
			Object: "fine_tuning.job.event", ID: fmt.Sprintf("%s%s-%d-%d", eventPrefix, j.ID, e.Seq, len(out)),
			CreatedAt: e.Event.Time.Unix(), Level: level, Message: fmt.Sprintf(format, args...), Type: "message", at: e.Event.Time,
		})
	}
	if e.Event.Type == scu.EventSubmitted || e.Event.Type == scu.EventScheduled {
		say("info", "Created fine-tuning job: %s", jobName(j.ID))
	}
	for _, w := range j.Warnings {
		if !slices.Contains(before.Event.Job.Warnings, w) {
			say("warn", "%s", w)
		}
	}
	switch e.Event.Type {
	case scu.EventSubmitted, scu.EventScheduled:
		say("info", "Validating training file: %s", filePrefix+j.TrainData.ID)
		say("info", "Files validated, moving job to queued state")
	case scu.EventStarted:
		if j.Attempt == 1 {
			say("info", "Fine-tuning job started")
		} else {
			say("info", "Fine-tuning job started again, attempt %d", j.Attempt)
		}
	case scu.EventPhase:
		if j.Phase == before.Event.Job.Phase { // it had but a warning to tell
			break
		}
		say("info", "Phase: %s", strings.ReplaceAll(string(j.Phase), "_", " "))
	case scu.EventCheckpoint:
		if c, ok := j.NewestCheckpoint(); ok {
			say("info", "Checkpoint created at step %d", c.Step)
		}
	case scu.EventStop:
		say("info", "Asked to end now and to keep what was learned")
	case scu.EventPaused:
		say("info", "Paused")
	case scu.EventResumed:
		say("info", "Resumed")
	case scu.EventRetried:
		say("info", "Queued again after its end")
	case scu.EventHandedBack:
		say("info", "Handed back by its trainer; queued again")
	case scu.EventCompleted:
		say("info", "New fine-tuned model created")
		say("info", "The job has successfully completed")
	case scu.EventFailed:
		message := "no reason is known"
		if j.Error != nil {
			message = j.Error.Error()
		}
		say("error", "The job failed: %s", message)
	case scu.EventCancelled:
		say("info", "The job was cancelled")
	default:
		say("info", "The job is %s", j.Status)
	}
	return out
}

func stepEvent(m scu.Metrics) event {
	data := map[string]any{
		"step": m.Step, "total_steps": m.Steps, "train_loss": m.CE,
		"data_bpt": m.DataBPT, "param_bpt": m.ParamBPT, "s_ratio": m.S, "lambda_value": m.Lambda,
		"learning_rate": m.LearningRate, "tokens_per_second": m.TokensPerSecond,
	}
	message := fmt.Sprintf("Step %d/%d: training loss=%.4f", m.Step, m.Steps, m.CE)
	if m.ValLoss != nil {
		data["valid_loss"], data["full_valid_loss"] = *m.ValLoss, *m.ValLoss
		message += fmt.Sprintf(", validation loss=%.4f", *m.ValLoss)
	}
	return event{
		Object: "fine_tuning.job.event", ID: fmt.Sprintf("%s%s-step-%d", eventPrefix, m.JobID, m.Step),
		CreatedAt: m.Timestamp.Unix(), Level: "info", Message: message, Type: "metrics", Data: data, at: m.Timestamp,
	}
}

// listEvents lists messages and steps in one order, the newest first: by time, a message
// after the steps of its moment.
func (h *handler) listEvents(c echo.Context) error {
	ctx, q := c.Request().Context(), c.QueryParams()
	id, err := jobID(c.Param("id"))
	if err != nil {
		return err
	}
	limit, err := limitOf(q, 20, 1000)
	if err != nil {
		return err
	}
	entries, err := h.Entries(ctx, id)
	if err != nil {
		return err
	}
	var messages []event // the newest first
	for i, e := range entries {
		var before scu.LogEntry
		if i > 0 {
			before = entries[i-1]
		}
		messages = append(messages, told(e, before)...)
	}
	slices.Reverse(messages)

	last := 0 // the newest step that is to be listed
	newest, err := h.Latest(ctx, id)
	if err != nil {
		return err
	}
	if newest != nil {
		last = newest.Step
	}
	if after := q.Get("after"); after != "" {
		if messages, last, err = h.after(ctx, id, after, messages, last); err != nil {
			return err
		}
	}
	events, err := h.merged(ctx, id, messages, last, limit+1)
	if err != nil {
		return err
	}
	more := len(events) > limit
	return reply(c, listed(events[:min(limit, len(events))], more, func(e event) string { return e.ID }))
}

// after is what comes after an event of a list whose newest step is last: messages, and
// the newest step.
func (h *handler) after(ctx context.Context, id, after string, messages []event, last int) ([]event, int, error) {
	if s, ok := strings.CutPrefix(after, eventPrefix+id+"-step-"); ok {
		step, err := strconv.Atoi(s)
		if err != nil || step < 1 || step > last {
			return nil, 0, unknownAfter(after)
		}
		m, err := h.step(ctx, id, step)
		if err != nil {
			return nil, 0, err
		}
		i := slices.IndexFunc(messages, func(e event) bool { return e.at.Before(m.Timestamp) })
		if i < 0 {
			i = len(messages)
		}
		return messages[i:], step - 1, nil
	}
	i := slices.IndexFunc(messages, func(e event) bool { return e.ID == after })
	if i < 0 {
		return nil, 0, unknownAfter(after)
	}
	// Times rise with the steps: the last one that isn't after the message is searched for.
	var failed error
	n := sort.Search(last, func(k int) bool {
		m, err := h.step(ctx, id, k+1)
		failed = cmp.Or(failed, err)
		return err != nil || m.Timestamp.After(messages[i].at)
	})
	return messages[i+1:], n, failed
}

// step is one step of a job, or the next that there is.
func (h *handler) step(ctx context.Context, id string, step int) (m scu.Metrics, err error) {
	rows, _, err := h.Steps(ctx, id, scu.StepPage{AfterStep: step - 1, Limit: 1})
	if err != nil {
		return m, err
	}
	if len(rows) == 0 {
		return m, scu.Errorf(scu.CodeUnavailable, "the job's steps change now").WithHint("try again")
	}
	return rows[0], nil
}

// merged are the n newest of messages and of the steps up to last.
func (h *handler) merged(ctx context.Context, id string, messages []event, last, n int) ([]event, error) {
	var steps []event
	if last > 0 {
		first := max(0, last-n)
		rows, _, err := h.Steps(ctx, id, scu.StepPage{AfterStep: first, Limit: last - first})
		if err != nil {
			return nil, err
		}
		for _, m := range slices.Backward(rows) {
			if m.Step <= last {
				steps = append(steps, stepEvent(m))
			}
		}
	}
	var out []event
	for len(out) < n && len(messages)+len(steps) > 0 {
		if len(steps) == 0 || len(messages) > 0 && !messages[0].at.Before(steps[0].at) {
			out, messages = append(out, messages[0]), messages[1:]
		} else {
			out, steps = append(out, steps[0]), steps[1:]
		}
	}
	return out, nil
}
