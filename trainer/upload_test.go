package trainer

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/hub"
)

// A repository's owner is the token's account where the job names none. This Hub
// refuses to create it, which is told with its name.
func TestUploadNamesItsRepository(t *testing.T) {
	var created string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/whoami-v2":
			io.WriteString(w, `{"type":"user","name":"someone"}`)
		case "/api/repos/create":
			b, _ := io.ReadAll(r.Body)
			created = string(b)
			w.WriteHeader(http.StatusForbidden)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	tr := &Trainer{Config: Config{Bases: &base.Finder{Hub: &hub.Client{Endpoint: server.URL, Token: "hf_test"}}}}
	const id = "0123456789abcdef"
	for _, c := range []struct{ model, name, owner, repo string }{
		{"bookworm-2m", "", "someone", "scu-bookworm-2m-" + id},
		{"Qwen/Qwen2.5-0.5B", "", "someone", "scu-Qwen2.5-0.5B-" + id},
		{"/models/my model--v2../", "", "someone", "scu-my-model-v2-" + id},
		{"/" + strings.Repeat("m", 200), "", "someone", "scu-" + strings.Repeat("m", 60) + "-" + id},
		{"bookworm-2m", "mine", "someone", "mine"},
		{"bookworm-2m", "team/mine", "team", "mine"},
	} {
		r := &run{t: tr, job: scu.Job{ID: id, BaseModel: c.model, Config: scu.Config{HubAdapterName: c.name}}}
		created = ""
		_, err := r.upload(t.Context(), []artifact{{"README.md", []byte("x")}})
		if err == nil || !strings.Contains(err.Error(), c.owner+"/"+c.repo) ||
			!strings.Contains(created, `"name":"`+c.repo+`","organization":"`+c.owner+`"`) || !strings.Contains(created, `"visibility":"private"`) {
			t.Errorf("%s as %q: asked to create %s; %v", c.model, c.name, created, err)
		}
	}
}
