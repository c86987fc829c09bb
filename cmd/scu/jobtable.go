package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/term"

	"github.com/shannon-control/scu/api/client"
)

// Widths of the list of jobs, in characters. What it needs besides names and models is at
// most fixedColumns; these two share the rest of the terminal.
const (
	fixedColumns = 16 + 9 + 9 + 6 + 4 + 6*2 // ID, STATUS, STEP, AGE, WARN, gaps
	longestName  = 24
	longestModel = 28
	shortest     = 8
)

// printJobs prints jobs as a table that fits the terminal.
func (a *app) printJobs(jobs []client.JobSummary) error {
	name, model := longestName, longestModel
	if isTerminal(a.out) {
		if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil {
			name, model = nameWidths(width)
		}
	}
	return writeJobs(a.out, jobs, name, model)
}

// writeJobs writes jobs as a table with names and models of at most so many characters.
func writeJobs(out io.Writer, jobs []client.JobSummary, name, model int) error {
	w := newTable(out, "ID\tNAME\tMODEL\tSTATUS\tSTEP\tAGE\tWARN")
	for _, j := range jobs {
		step := "-"
		if j.TotalSteps > 0 {
			step = fmt.Sprintf("%d/%d", j.Step, j.TotalSteps)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\n", j.JobID, shorten(j.Name, name), shorten(filepath.Base(j.BaseModel), model), j.Status, step, age(j.CreatedAt), len(j.Warnings))
	}
	return w.Flush()
}

// nameWidths are the characters that a job's name and its model may take in so many columns.
func nameWidths(columns int) (name, model int) {
	rest := columns - fixedColumns
	name = min(max(rest/2, shortest), longestName)
	return name, min(max(rest-name, shortest), longestModel)
}

// shorten cuts a text to n characters, and marks that.
func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	if s == "" {
		return "-"
	}
	return s
}

// local is a time as the user's clock has it, with its zone.
func local(t *time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// age is how long ago a time is, in the largest unit that it fills.
func age(t time.Time) string {
	switch d := time.Since(t); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d d", int(d.Hours()/24))
	}
}
