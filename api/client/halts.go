package client

import (
	"context"
	"net/http"
	"net/url"
)

// HaltResponse confirms that something was halted or released.
type HaltResponse struct {
	Message string `json:"message"`
}

// HaltQueue makes the whole queue hand out no jobs, or some again. Jobs that run go on.
func (c *Client) HaltQueue(ctx context.Context, halt bool) (HaltResponse, error) {
	path := "/queue/resume"
	if halt {
		path = "/queue/pause"
	}
	return call[HaltResponse](ctx, c, http.MethodPost, path)
}

// Drain makes a trainer take no more jobs after the one that it runs, or some again.
func (c *Client) Drain(ctx context.Context, trainer string, drain bool) (HaltResponse, error) {
	path := "/trainers/" + url.PathEscape(trainer) + "/resume"
	if drain {
		path = "/trainers/" + url.PathEscape(trainer) + "/drain"
	}
	return call[HaltResponse](ctx, c, http.MethodPost, path)
}
