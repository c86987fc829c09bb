package scu_test

import (
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

// What OpenAI's API names is found by the service's own id; other texts stay.
func TestOwnID(t *testing.T) {
	const job = "0123456789abcdef"
	file := strings.Repeat("0a", 32)
	for named, want := range map[string]string{
		"ftjob-" + job:                                job,
		"ftjob-" + job + "@40":                        job + "@40",
		"ftjob-" + job + "@best":                      job + "@best",
		"ft:bookworm-2m:scu:keeper:" + job:            job,
		"ft:owner/name@v1:scu::" + job:                job,
		"ft:bookworm-2m:scu::" + job + ":ckpt-step-4": job + "@4",
		"file-" + file:                                file,
		job:                                           job,
		file:                                          file,
		"":                                            "",
		"ftjob-":                                      "ftjob-",
		"ftjob-keeper":                                "ftjob-keeper",
		"file-keeper.txt":                             "file-keeper.txt",
		"file-" + job + "-adapter":                    "file-" + job + "-adapter",
		"ft:bookworm-2m:scu:keeper":                   "ft:bookworm-2m:scu:keeper",
		"ftjob-" + job + "0":                          "ftjob-" + job + "0",
	} {
		if got := scu.OwnID(named); got != want {
			t.Errorf("%q is %q, want %q", named, got, want)
		}
	}
}
