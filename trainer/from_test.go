package trainer

import (
	"archive/zip"
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
)

// A zip that is no adapter, or one of more bytes than the job's can have, is refused by
// what is wrong with it; neither a folder of the server nor a byte of it is left.
func TestFromAdapterRefuses(t *testing.T) {
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	dir, err := models.Extract(t.TempDir())
	must(t, err)
	m, err := base.Open(dir)
	must(t, err)
	defer m.Close()
	modules, err := m.Modules(scu.DefaultConfig().LoRA)
	must(t, err)
	store, err := files.Open(t.TempDir())
	must(t, err)

	const config = `{"peft_type":"LORA","r":16,"lora_alpha":32,"target_modules":"all-linear"}`
	for _, c := range []struct {
		name    string
		files   map[string]string
		code    scu.Code
		message string
	}{
		{"no weights", map[string]string{lora.ConfigFile: config}, scu.CodeInvalid, "the zip has no readable adapter_model.safetensors"},
		{"a folder for a file", map[string]string{lora.ConfigFile + "/x": "", lora.WeightsFile: ""}, scu.CodeInvalid, "the zip has no readable adapter_config.json"},
		{"broken JSON", map[string]string{lora.ConfigFile: "{", lora.WeightsFile: ""}, scu.CodeInvalid, "adapter_config.json: unexpected end of JSON input"},
		{"broken weights", map[string]string{lora.ConfigFile: config, lora.WeightsFile: "xx"}, scu.CodeInvalid, "safetensors: adapter_model.safetensors: "},
		{"no tensor", map[string]string{lora.ConfigFile: config, lora.WeightsFile: "\x02\x00\x00\x00\x00\x00\x00\x00{}"}, scu.CodeInvalid, "adapter_model.safetensors has no tensor "},
		{"endless JSON", map[string]string{lora.ConfigFile: strings.Repeat(" ", base.MaxAdapterText+1), lora.WeightsFile: ""}, scu.CodeTooLarge, "adapter_config.json has more than the 1048576 bytes"},
		{"endless weights", map[string]string{lora.ConfigFile: config, lora.WeightsFile: strings.Repeat("\x00", int(base.MaxWeights(modules))+1)}, scu.CodeTooLarge, "adapter_model.safetensors has more than the "},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			z := zip.NewWriter(&b)
			for name, text := range c.files {
				w, err := z.Create(name)
				must(t, err)
				_, err = w.Write([]byte(text))
				must(t, err)
			}
			must(t, z.Close())
			f, err := store.Put(t.Context(), "adapter.zip", &b, 1<<30)
			must(t, err)
			_, err = fromAdapter(t.Context(), store, f.ID, m, modules, true)
			if e := scu.AsError(err); e.Code != c.code || e.Field != "from_adapter" || !strings.HasPrefix(e.Message, c.message) || strings.Contains(e.Error(), temp) {
				t.Errorf("refused with %s: %v", e.Code, e)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}
