package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

type metricsInput struct {
	ID    string `path:"id" doc:"The job's id"`
	After int    `query:"after" minimum:"0" default:"0" doc:"Steps above this one; 0: from the first"`
	Limit int    `query:"limit" minimum:"1" maximum:"10000" default:"1000" doc:"At most so many"`

	Resolution int `query:"resolution" minimum:"10" maximum:"10000" doc:"For charts: instead of a page, at most so many of all steps, with the least and greatest values of ce, val_loss, s_ratio and lambda_value in each stretch of the run"`
}

func (s *Server) metrics(ctx context.Context, in *metricsInput) (*reply[client.MetricsPage], error) {
	if _, _, err := s.find(ctx, in.ID); err != nil {
		return nil, err
	}
	if err := s.stepsCaughtUp(ctx); err != nil {
		return nil, err
	}
	var rows []scu.Metrics
	var more bool
	var err error
	atBound := 0
	if in.Resolution > 0 {
		rows, atBound, err = s.thinnedRows(ctx, in.ID, in.Resolution)
	} else {
		rows, more, err = s.o.Store.Metrics(ctx, in.ID, scu.StepPage{AfterStep: in.After, Limit: in.Limit})
	}
	if err != nil {
		return nil, err
	}
	page := client.MetricsPage{Metrics: rows, HasMore: more, Next: in.After, AtBound: atBound}
	if len(rows) == 0 {
		page.Metrics = []scu.Metrics{}
	} else {
		page.Next = rows[len(rows)-1].Step
	}
	return answer(page), nil
}

// csvPage is how many steps are read at a time.
const csvPage = 1000

// metricsCSV streams the steps so far. It waits, bounded, for what was published when it
// was asked for: the table of a completed job is whole.
func (s *Server) metricsCSV(ctx context.Context, in *jobInput) (*huma.StreamResponse, error) {
	if _, _, err := s.find(ctx, in.ID); err != nil {
		return nil, err
	}
	if err := s.stepsCaughtUp(ctx); err != nil {
		return nil, err
	}
	page := scu.StepPage{Limit: csvPage}
	rows, more, err := s.o.Store.Metrics(ctx, in.ID, page)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		c.SetHeader("Content-Type", "text/csv; charset=utf-8")
		c.SetHeader("Content-Disposition", fmt.Sprintf(`attachment; filename="%s_metrics.csv"`, in.ID))
		c.SetStatus(http.StatusOK)
		text := scu.CSVLive.AppendHeader(nil)
		for {
			for i := range rows {
				text = scu.CSVLive.Append(text, &rows[i])
			}
			if _, err = c.BodyWriter().Write(text); err != nil || !more {
				break
			}
			page.AfterStep = rows[len(rows)-1].Step
			if rows, more, err = s.o.Store.Metrics(ctx, in.ID, page); err != nil {
				break
			}
			text = text[:0]
		}
		if err != nil {
			if ctx.Err() == nil {
				s.log.WarnContext(ctx, "the metrics broke off", "job", in.ID, "err", err)
			}
			panic(http.ErrAbortHandler) // the client must not take a part for the whole
		}
	}}, nil
}
