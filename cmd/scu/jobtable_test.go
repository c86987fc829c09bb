package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// The list of jobs fits 80 columns, however long names are.
func TestJobsFit(t *testing.T) {
	job := client.JobSummary{
		JobID: scu.NewJobID(), Name: strings.Repeat("näme ", 20), BaseModel: "owner/" + strings.Repeat("model", 20), Status: scu.Completed,
		Step: 1000, TotalSteps: 1000, CreatedAt: time.Now().Add(-59 * time.Minute), Warnings: []string{"w"},
	}
	for columns, want := range map[int]int{80: 80, 200: 200, 40: 72} { // no narrower than what it needs
		var table bytes.Buffer
		name, model := nameWidths(columns)
		if err := writeJobs(&table, []client.JobSummary{job}, name, model); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(table.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > want {
				t.Errorf("at %d columns a line has %d: %s", columns, n, line)
			}
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 59 * time.Second: "59 s", 2 * time.Minute: "2 min", 3 * time.Hour: "3 h", 50 * time.Hour: "2 d",
	} {
		if got := age(time.Now().Add(-d - 100*time.Millisecond)); got != want {
			t.Errorf("%v ago is %q, want %q", d, got, want)
		}
	}
}
