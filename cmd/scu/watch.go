package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

func (a *app) watchCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "watch JOB",
		Short: "Follow a job to its end, from its first step on",
		Long: `Shows a job's steps, from the first on, until it ends; the exit code says how. With
--json each line is {"status": ...} or {"metrics": ...}, one for every step.`,
		Args: cobra.ExactArgs(1),
		RunE: a.call(func(ctx context.Context, api *client.Client, args []string) error {
			show := a.newDisplay()
			if a.json {
				show = jsonLines{a}
			}
			last, err := follow(ctx, api, args[0], show)
			if err != nil {
				return err
			}
			if err := outcome(last); err != nil || a.json {
				return err
			}
			return a.tellResult(ctx, api, args[0])
		}),
		ValidArgsFunction: a.completeJobs,
	}
}

// shower shows what happens to a job.
type shower interface {
	show(e client.Event) error
	lost(since time.Duration) // there has been no connection for so long
	close()                   // ends what moves on the screen
}

// follow shows a job until it ends and returns its last state.
func follow(ctx context.Context, api *client.Client, id string, d shower) (client.JobStatus, error) {
	defer d.close()
	var last client.JobStatus
	err := api.WatchThrough(ctx, id, 0, func(e client.Event) error {
		if e.Status != nil {
			last = *e.Status
		}
		return d.show(e)
	}, d.lost)
	return last, err
}

// silent shows nothing.
type silent struct{}

func (silent) show(client.Event) error { return nil }
func (silent) lost(time.Duration)      {}
func (silent) close()                  {}

// jsonLines prints each event as one line.
type jsonLines struct{ a *app }

func (j jsonLines) show(e client.Event) error {
	return printJSON(j.a.out, struct {
		Status  *client.JobStatus `json:"status,omitempty"`
		Metrics *scu.Metrics      `json:"metrics,omitempty"`
	}{e.Status, e.Metrics})
}

func (jsonLines) lost(time.Duration) {}
func (jsonLines) close()             {}

// stepText is a step in one line of at most width characters: what matters less is left
// out until it fits. 0 is no bound.
func stepText(m scu.Metrics, width int) string {
	val := ""
	if m.ValLoss != nil {
		val = fmt.Sprintf("val %.4f", *m.ValLoss)
	}
	parts := []string{
		fmt.Sprintf("ce %.4f", m.CE), shareText(m.S, m.TargetS), "lambda " + lambdaText(m.LambdaNext, m.LambdaMin, m.LambdaMax),
		thousands(int64(m.TokensPerSecond)) + " tok/s", "ETA " + eta(m.ETAMinutes), val,
	}
	const share, lambda, speed, left, loss = 1, 2, 3, 4, 5
	text := joined(parts)
	for _, drop := range []int{speed, lambda, loss, share, left} {
		if width == 0 || len(text) <= width {
			break
		}
		parts[drop] = ""
		text = joined(parts)
	}
	return text
}

// joined is the parts that aren't empty, two spaces apart.
func joined(parts []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(parts), func(s string) bool { return s == "" }), "  ")
}

// shareText is S beside its target.
func shareText(s, target float64) string { return fmt.Sprintf("S %.4g (target %g)", s, target) }

// lambdaText is lambda, beside its bounds if it rests at one.
func lambdaText(lambda float64, low, high *float64) string {
	if low == nil || high == nil {
		return fmt.Sprintf("%.4g", lambda)
	}
	return fmt.Sprintf("%.4g (bounds %g to %g)", lambda, *low, *high)
}

// eta prints minutes as 1:02:03 or 2:03.
func eta(minutes float64) string {
	s := int64(minutes*60 + 0.5)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// thousandsOf is scu.Counted of a count as thousands prints it.
func thousandsOf(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}

// thousands prints a count with its digits in threes.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
