package openai

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/shannon-control/scu"
)

// Ids of this API are the service's own behind a prefix. Without it they are known too.
const (
	filePrefix = scu.OpenAIFilePrefix
	jobPrefix  = scu.OpenAIJobPrefix
)

// Result files of a completed job: file-<job>-metrics and file-<job>-adapter.
const (
	metricsFile = "metrics"
	adapterFile = "adapter"
)

func jobName(id string) string { return jobPrefix + id }

// jobID is the service's id of a job.
func jobID(named string) (string, error) {
	id := strings.TrimPrefix(named, jobPrefix)
	if !scu.ValidJobID(id) {
		return "", scu.Errorf(scu.CodeNotFound, "no job %.80q", named).WithHint("a job's id is ftjob- and 16 hex digits")
	}
	return id, nil
}

// resultID is the id of a job's result file.
func resultID(job, kind string) string { return filePrefix + job + "-" + kind }

// resultOf is the job, and the kind, of a result file's id.
func resultOf(named string) (job, kind string, ok bool) {
	job, kind, _ = strings.Cut(strings.TrimPrefix(named, filePrefix), "-")
	return job, kind, scu.ValidJobID(job) && (kind == metricsFile || kind == adapterFile)
}

// fileID is the service's id of a stored file.
func fileID(named string) (string, error) {
	id := strings.TrimPrefix(named, filePrefix)
	if !scu.ValidFileID(id) {
		return "", scu.Errorf(scu.CodeNotFound, "no file %.80q", named).WithHint("upload it with files.create")
	}
	return id, nil
}

// adapterModel is the name of a job's adapter as a model; a step above 0 is of a checkpoint.
func (h *handler) adapterModel(j scu.Job, step int) string {
	name := fmt.Sprintf("ft:%s:scu:%s:%s", h.NameOf(j.BaseModel), j.Name, j.ID)
	if step > 0 {
		name += ":ckpt-step-" + strconv.Itoa(step)
	}
	return name
}

// readModel is the job whose adapter a model's name means, and the step of its
// checkpoint, 0 for the adapter itself. The job's id alone means its adapter too.
func readModel(named string) (job string, step int, ok bool) {
	if id := strings.TrimPrefix(named, jobPrefix); scu.ValidJobID(id) {
		return id, 0, true
	}
	return scu.ReadAdapterModel(named)
}
