package api

import (
	"strings"
	"testing"

	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

func TestAJobOnSeveralSources(t *testing.T) {
	r := start(t, nil)
	const own = "My own words, and few of them."
	up, err := r.sdk.Upload(t.Context(), "own.txt", strings.NewReader(own), int64(len(own)), nil)
	must(t, err)
	res, err := r.sdk.Submit(t.Context(), client.SubmitRequest{BaseModel: models.BuiltIn, TrainData: []client.TrainSource{{Path: up.ID, Share: 2}, {Path: "train.txt", Share: 0.5}}})
	must(t, err)
	j, err := r.sdk.Job(t.Context(), res.JobID)
	must(t, err)
	if j.TrainData.ID != up.ID || j.Config.TrainDataPath != up.ID {
		t.Errorf("who reads one source sees %+v, named %q", j.TrainData, j.Config.TrainDataPath)
	}
	if len(j.Sources) != 2 || j.Sources[0].Share != 2 || j.Sources[1].Share != 0.5 || j.Sources[1].Path != "train.txt" || j.Sources[1].File.Name != "train.txt" {
		t.Errorf("the sources are %+v", j.Sources)
	}
	if len(r.stored()) != 2 {
		t.Errorf("stored: %v", r.stored())
	}
}

func TestSourcesAreRefusedByField(t *testing.T) {
	r := start(t, nil)
	writeFile(t, r.data, "a.txt", "One text.")
	writeFile(t, r.data, "same.txt", "One text.")
	many := strings.Repeat(`{"path":"a.txt"},`, 16) + `{"path":"a.txt"}`
	for _, c := range []struct{ name, data, field string }{
		{"neither", `"name":"x"`, "train_data_path"},
		{"both", `"train_data_path":"a.txt","train_data":[{"path":"a.txt"},{"path":"train.txt"}]`, "train_data_path"},
		{"one", `"train_data":[{"path":"a.txt"}]`, "train_data"},
		{"too many", `"train_data":[` + many + `]`, "train_data"},
		{"no list", `"train_data":"a.txt"`, "train_data"},
		{"no path", `"train_data":[{"path":"a.txt"},{"share":1}]`, "train_data[1].path"},
		{"unknown field", `"train_data":[{"path":"a.txt","weight":1},{"path":"train.txt"}]`, "train_data[0].weight"},
		{"missing file", `"train_data":[{"path":"a.txt"},{"path":"none.txt"}]`, "train_data[1].path"},
		{"path outside", `"train_data":[{"path":"/etc/passwd"},{"path":"a.txt"}]`, "train_data[0].path"},
		{"share of nothing", `"train_data":[{"path":"a.txt","share":0},{"path":"train.txt","share":1}]`, "train_data[0].share"},
		{"negative share", `"train_data":[{"path":"a.txt","share":1},{"path":"train.txt","share":-1}]`, "train_data[1].share"},
		{"tiny share", `"train_data":[{"path":"a.txt","share":1},{"path":"train.txt","share":1e-300}]`, "train_data[1].share"},
		{"share is text", `"train_data":[{"path":"a.txt","share":"half"},{"path":"train.txt","share":1}]`, "train_data[0].share"},
		{"some shares", `"train_data":[{"path":"a.txt","share":1},{"path":"train.txt"}]`, "train_data[1].share"},
		{"the same twice", `"train_data":[{"path":"a.txt"},{"path":"same.txt"}]`, "train_data[1].path"},
		{"in the overrides", `"train_data_path":"a.txt","config_overrides":{"train_data":[]}`, "train_data"},
	} {
		for _, route := range []string{"/jobs/submit", "/jobs/validate"} {
			status, _, body := r.ask("POST", route, `{"base_model":"bookworm-2m",`+c.data+`}`)
			if route == "/jobs/validate" && status == 200 && !strings.Contains(body, `"valid":false`) || !strings.Contains(body, `"field":"`+c.field+`"`) ||
				route == "/jobs/submit" && status != 422 && status != 403 {
				t.Errorf("%s: %s: %d %s", c.name, route, status, body)
			}
		}
	}
	if left := r.stored(); len(left) > 0 || r.jobs() != 0 {
		t.Errorf("left behind: %v, %d jobs", left, r.jobs())
	}
}
