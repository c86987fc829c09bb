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
	var out GCReport
	return out, c.call(ctx, http.MethodGet, "/gc", nil, &out)
}

// GC removes it.
func (c *Client) GC(ctx context.Context) (GCReport, error) {
	var out GCReport
	return out, c.call(ctx, http.MethodPost, "/gc", nil, &out)
}
