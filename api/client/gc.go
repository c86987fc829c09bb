package client

import (
	"context"
	"net/http"

	"github.com/shannon-control/scu"
)

// GCReport is what the retention policy lets go, or what was removed by it.
type GCReport struct {
	Collected []scu.Collected `json:"collected"`
	Count     int             `json:"count"` // without those that could not be removed
	Bytes     int64           `json:"bytes"` // theirs
}

// PlanGC lists what the retention policy lets go now.
func (c *Client) PlanGC(ctx context.Context) (GCReport, error) {
	return call[GCReport](ctx, c, http.MethodGet, "/gc")
}

// GC removes it.
func (c *Client) GC(ctx context.Context) (GCReport, error) {
	return call[GCReport](ctx, c, http.MethodPost, "/gc")
}
