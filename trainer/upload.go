package trainer

import (
	"context"
	"strings"

	"scu"
	"scu/trainer/hub"
)

// upload puts the adapter into a private repository on the Hub and returns its id.
func (r *run) upload(ctx context.Context, files []artifact) (string, error) {
	client := r.t.Bases.Hub
	if client == nil || client.Token == "" {
		return "", scu.Errorf(scu.CodeInvalid, "this trainer has no Hugging Face token").WithHint("start it with SCU_HF_TOKEN set")
	}
	name := r.job.Config.HubAdapterName
	if name == "" {
		model := r.job.BaseModel[strings.LastIndexByte(r.job.BaseModel, '/')+1:]
		name = "scu-" + model + "-" + r.job.ID
	}
	list := make([]hub.UploadFile, len(files))
	for i, f := range files {
		list[i] = hub.UploadFile{Path: f.name, Data: f.data}
	}
	if _, err := client.Upload(ctx, name, list, hub.UploadOptions{Message: "LoRA adapter trained under a Shannon Control Unit"}); err != nil {
		return "", err
	}
	return name, nil
}
