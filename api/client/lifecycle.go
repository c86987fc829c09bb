package client

import (
	"context"
	"net/http"

	"github.com/shannon-control/scu"
)

// RetryRequest says which jobs are to be queued again: named ones, or failed ones.
type RetryRequest struct {
	JobIDs    []string `json:"job_ids,omitempty" maxItems:"1000" doc:"These jobs"`
	GivenUp   bool     `json:"given_up,omitempty" doc:"The newest 1,000 jobs that were given up after all their attempts"`
	ErrorCode scu.Code `json:"error_code,omitempty" doc:"The newest 1,000 failed jobs whose error has this code; not invalid, which fails again"`
	FromStart bool     `json:"from_start,omitempty" doc:"Begin anew instead of from the last checkpoints"`
}

// RetryResponse says what became of a RetryRequest.
type RetryResponse struct {
	Retried []string       `json:"retried" nullable:"false" doc:"The jobs that are queued again"`
	Refused []RetryRefusal `json:"refused,omitempty"`
}

// RetryRefusal is why a job was not queued again.
type RetryRefusal struct {
	JobID string     `json:"job_id"`
	Error *scu.Error `json:"error"`
}

// Pause takes a job out of the queue, and from its trainer, until Resume. A job that is
// paused is no error; one that has ended or is scheduled is scu.CodeConflict.
func (c *Client) Pause(ctx context.Context, id string) (CancelResponse, error) {
	return call[CancelResponse](ctx, c, http.MethodPost, jobPath(id, "/pause"))
}

// Resume queues a paused job again, or a scheduled one before its time. A job that is
// queued or runs is no error.
func (c *Client) Resume(ctx context.Context, id string) (CancelResponse, error) {
	return call[CancelResponse](ctx, c, http.MethodPost, jobPath(id, "/resume"))
}

// Retry queues a job again that failed or was cancelled: from its last checkpoint, or
// anew if fromStart.
func (c *Client) Retry(ctx context.Context, id string, fromStart bool) (CancelResponse, error) {
	path := jobPath(id, "/retry")
	if fromStart {
		path += "?from_start=true"
	}
	return call[CancelResponse](ctx, c, http.MethodPost, path)
}

// RetryAll queues many jobs again; each that is refused is in the answer.
func (c *Client) RetryAll(ctx context.Context, r RetryRequest) (RetryResponse, error) {
	return post[RetryResponse](ctx, c, "/jobs/retry", r, "")
}
