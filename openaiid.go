package scu

import (
	"regexp"
	"strconv"
	"strings"
)

// OpenAI's API names jobs, files and adapters as its clients expect: the service's own id
// behind a prefix, and an adapter as a model, ft:<base>:scu:<name>:<job>, one of its
// checkpoints with :ckpt-step-<n> after it.
const (
	OpenAIJobPrefix  = "ftjob-"
	OpenAIFilePrefix = "file-"
)

var adapterModel = regexp.MustCompile(`^ft:.*:([0-9a-f]{16})(?::ckpt-step-([0-9]{1,9}))?$`)

// ReadAdapterModel returns the job whose adapter a model's name means, and the step of
// its checkpoint, 0 for the adapter itself.
func ReadAdapterModel(named string) (job string, step int, ok bool) {
	m := adapterModel.FindStringSubmatch(named)
	if m == nil {
		return "", 0, false
	}
	if m[2] != "" {
		step, _ = strconv.Atoi(m[2])
	}
	return m[1], step, true
}

// OwnID returns the service's own name for a job, a file, or the adapter of a job (JOB,
// JOB@STEP) that is named as in OpenAI's API. Any other text comes back as it is.
func OwnID(named string) string {
	if job, step, ok := ReadAdapterModel(named); ok {
		if step > 0 {
			job += "@" + strconv.Itoa(step)
		}
		return job
	}
	if id, ok := strings.CutPrefix(named, OpenAIFilePrefix); ok && ValidFileID(id) {
		return id
	}
	if rest, ok := strings.CutPrefix(named, OpenAIJobPrefix); ok {
		if id, _, _ := strings.Cut(rest, "@"); ValidJobID(id) {
			return rest
		}
	}
	return named
}
