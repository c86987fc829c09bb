package trainer

import (
	"context"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/hub"
)

// upload puts the adapter into a private repository on the Hub and returns its id,
// "owner/name". The owner is the token's account unless the job names one.
func (r *run) upload(ctx context.Context, files []artifact) (string, error) {
	client := r.t.Bases.Hub
	if client == nil || client.Token == "" {
		return "", scu.Errorf(scu.CodeInvalid, "this trainer has no Hugging Face token").WithHint("start it with SCU_HF_TOKEN set")
	}
	repo := r.job.Config.HubAdapterName
	if repo == "" {
		repo = defaultRepo(r.job)
	}
	if !strings.Contains(repo, "/") {
		owner, err := client.Whoami(ctx)
		if err != nil {
			return "", err
		}
		repo = owner + "/" + repo
	}
	list := make([]hub.UploadFile, len(files))
	for i, f := range files {
		list[i] = hub.UploadFile{Path: f.name, Data: f.data}
	}
	if _, err := client.Upload(ctx, repo, list, hub.UploadOptions{Message: "LoRA adapter trained under a Shannon Control Unit"}); err != nil {
		return "", err
	}
	return repo, nil
}

// notInRepo matches characters that a repository's name can't contain.
var notInRepo = regexp.MustCompile(`[^A-Za-z0-9_.]+|\.{2,}`)

// defaultRepo is the repository of a job that names none: scu-<base model>-<job id>, at
// most 96 characters.
func defaultRepo(j scu.Job) string {
	model := notInRepo.ReplaceAllString(filepath.Base(j.BaseModel), "-")
	return "scu-" + strings.Trim(model[:min(len(model), 60)], "-.") + "-" + j.ID
}
