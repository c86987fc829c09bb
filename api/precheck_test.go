package api

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

// Data is checked, and a job estimated, as they would be submitted, and nothing of
// it is kept.
func TestAhead(t *testing.T) {
	var asked struct {
		cfg     scu.Config
		file    scu.File
		sources scu.Sources
		val     *scu.File
		preview int
		tokens  int64
	}
	r := start(t, func(o *Options) {
		files := o.Files
		o.CheckData = func(ctx context.Context, c *scu.Config, sources scu.Sources, preview int) (scu.DataCheck, error) {
			f := sources[0].File
			asked.cfg, asked.file, asked.sources, asked.preview = *c, f, sources, preview
			if _, err := files.Local(ctx, f.ID); err != nil {
				t.Error("the data can't be read:", err)
			}
			return scu.DataCheck{BlockSize: c.BlockSize, Report: scu.DataReport{Blocks: 3}, Error: scu.Errorf(scu.CodeInvalid, "line 2")}, nil
		}
		o.Estimate = func(_ context.Context, c *scu.Config, train scu.Sources, val *scu.File, tokens int64) (scu.Estimate, error) {
			asked.cfg, asked.sources, asked.val, asked.tokens = *c, train, val, tokens
			return scu.Estimate{Steps: 7}, nil
		}
	})
	over := map[string]any{"block_size": 256}
	check, err := r.sdk.CheckData(r.Context(), client.DataCheckRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt", ConfigOverrides: over, Preview: 2})
	must(t, err)
	if check.BlockSize != 256 || check.Report.Blocks != 3 || check.Error == nil || asked.file.Name != "train.txt" || asked.preview != 2 {
		t.Errorf("%+v of %+v", check, asked)
	}
	e, err := r.sdk.Estimate(r.Context(), client.EstimateRequest{BaseModel: models.BuiltIn, TrainDataPath: "train.txt", ValDataPath: "train.txt", ConfigOverrides: over})
	must(t, err)
	if e.Steps != 7 || asked.val == nil || asked.tokens != 0 || asked.cfg.BlockSize != 256 {
		t.Errorf("%+v of %+v", e, asked)
	}
	_, err = r.sdk.Estimate(r.Context(), client.EstimateRequest{BaseModel: models.BuiltIn, Tokens: 5000})
	must(t, err)
	if asked.tokens != 5000 || asked.val != nil {
		t.Errorf("tokens alone: %+v", asked)
	}
	writeFile(t, r.data, "more.txt", "And so it goes.")
	list := []client.TrainSource{{Path: "train.txt", Share: 1}, {Path: "more.txt", Share: 3}}
	_, err = r.sdk.CheckData(r.Context(), client.DataCheckRequest{BaseModel: models.BuiltIn, TrainData: list})
	must(t, err)
	if s := asked.sources; len(s) != 2 || s[1].File.Name != "more.txt" || s[1].Share != 3 {
		t.Errorf("several sources to check: %+v", s)
	}
	_, err = r.sdk.Estimate(r.Context(), client.EstimateRequest{BaseModel: models.BuiltIn, TrainData: list})
	must(t, err)
	if len(asked.sources) != 2 {
		t.Errorf("several sources to estimate: %+v", asked.sources)
	}
	if left := r.stored(); len(left) > 0 || r.jobs() != 0 {
		t.Errorf("left behind: %v, %d jobs", left, r.jobs())
	}
}

func TestAheadRefuses(t *testing.T) {
	r := start(t, func(o *Options) {
		o.CheckData = func(context.Context, *scu.Config, scu.Sources, int) (scu.DataCheck, error) {
			return scu.DataCheck{}, nil
		}
		o.Estimate = func(context.Context, *scu.Config, scu.Sources, *scu.File, int64) (scu.Estimate, error) {
			return scu.Estimate{}, nil
		}
	})
	outside := writeFile(t, t.TempDir(), "secret.txt", "secret")
	for _, c := range []struct {
		path, body string
		status     int
		code       scu.Code
		field      string
	}{
		{"/data/check", `{}`, 422, scu.CodeInvalid, "base_model"},
		{"/data/check", `{"base_model": "bookworm-2m"}`, 422, scu.CodeInvalid, "train_data_path"},
		{"/data/check", `{"base_model": "bookworm-2m", "train_data_path": "` + outside + `"}`, 403, scu.CodeForbidden, "train_data_path"},
		{"/data/check", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "preview": 17}`, 422, scu.CodeInvalid, "preview"},
		{"/data/check", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "config_overrides": {"lora": {"rank": 1}}}`, 422, scu.CodeInvalid, "lora.rank"},
		{"/data/check", `{"base_model": "` + strings.Repeat("x", 501) + `", "train_data_path": "train.txt"}`, 422, scu.CodeInvalid, "base_model"},
		{"/estimate", `{"base_model": "bookworm-2m"}`, 422, scu.CodeInvalid, "tokens"},
		{"/estimate", `{"base_model": "bookworm-2m", "tokens": 5, "train_data_path": "train.txt"}`, 422, scu.CodeInvalid, "tokens"},
		{"/estimate", `{"base_model": "bookworm-2m", "tokens": -5}`, 422, scu.CodeInvalid, "tokens"},
		{"/estimate", `{"base_model": "bookworm-2m", "train_data_path": "train.txt", "val_data_path": "none.txt"}`, 422, scu.CodeInvalid, "val_data_path"},
	} {
		status, _, body := r.ask(http.MethodPost, c.path, c.body)
		r.refused(t, status, body, c.status, c.code, c.field)
	}
	if left := r.stored(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	plain := start(t, nil)
	status, _, body := plain.ask(http.MethodPost, "/estimate", `{"base_model": "bookworm-2m", "tokens": 5}`)
	plain.refused(t, status, body, 422, scu.CodeUnsupported, "")
}
