package client

import (
	"context"
)

// BatchRequest asks for many jobs at once.
type BatchRequest struct {
	Jobs []SubmitRequest `json:"jobs" minItems:"1" maxItems:"1000" nullable:"false"`

	// IdempotencyKey is sent as a header; see SubmitRequest.
	IdempotencyKey string `json:"-"`
}

// BatchResponse says under which ids the jobs of a batch were taken in, in its order.
type BatchResponse struct {
	Jobs  []SubmitResponse `json:"jobs" nullable:"false"`
	Count int              `json:"count"`
}

// SubmitBatch asks for many jobs: all are taken in, or none. Errors name the job that they
// are of, as jobs[3].base_model.
func (c *Client) SubmitBatch(ctx context.Context, r BatchRequest) (BatchResponse, error) {
	return post[BatchResponse](ctx, c, "/jobs/batch", r, r.IdempotencyKey)
}
