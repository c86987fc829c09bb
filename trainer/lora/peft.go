package lora

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// File names of a PEFT adapter folder.
const (
	WeightsFile = "adapter_model.safetensors"
	ConfigFile  = "adapter_config.json"
)

// peftConfig is adapter_config.json, in the order that it is written. Readers:
// PEFT, vLLM, LoRAX, llama.cpp's convert_lora_to_gguf.py.
type peftConfig struct {
	AlphaPattern    map[string]float64 `json:"alpha_pattern"`
	AutoMapping     any                `json:"auto_mapping"`
	BaseModel       string             `json:"base_model_name_or_path"`
	Bias            string             `json:"bias"`
	ExcludeModules  any                `json:"exclude_modules"` // a list of names, one regular expression, or null
	FanInFanOut     bool               `json:"fan_in_fan_out"`
	InferenceMode   bool               `json:"inference_mode"`
	InitLoRAWeights bool               `json:"init_lora_weights"`
	LayersPattern   any                `json:"layers_pattern"`
	LayersTransform []int              `json:"layers_to_transform"`
	Alpha           float64            `json:"lora_alpha"`
	Dropout         float64            `json:"lora_dropout"`
	ModulesToSave   any                `json:"modules_to_save"`
	PEFTType        string             `json:"peft_type"`
	R               int                `json:"r"`
	RankPattern     map[string]int     `json:"rank_pattern"`
	Revision        any                `json:"revision"`
	TargetModules   []string           `json:"target_modules"`
	TaskType        string             `json:"task_type"`
	UseDoRA         bool               `json:"use_dora"`
	UseRSLoRA       bool               `json:"use_rslora"`
}

// PEFTConfig is the text of adapter_config.json. names are the module names as
// the model's family has them (see Names), baseModel what readers find the base
// by: a Hub id if there is one, with "@" and its revision if that is known.
func PEFTConfig(baseModel string, names []string, modules []Module, cfg scu.LoRAConfig) ([]byte, error) {
	var revision any
	if repo, commit, ok := strings.Cut(baseModel, "@"); ok && !filepath.IsAbs(baseModel) {
		baseModel, revision = repo, commit
	}
	sorted := append([]string(nil), names...)
	sort.Strings(sorted)
	c := peftConfig{
		AlphaPattern: notNil(cfg.AlphaPattern), RankPattern: notNil(cfg.RankPattern),
		BaseModel: baseModel, Revision: revision, Bias: "none", FanInFanOut: len(modules) > 0 && modules[0].Conv1D,
		InferenceMode: true, InitLoRAWeights: true, Alpha: cfg.Alpha, Dropout: cfg.Dropout, LayersTransform: cfg.LayersToTransform,
		PEFTType: "LORA", R: cfg.R, TargetModules: sorted, TaskType: "CAUSAL_LM", UseRSLoRA: cfg.UseRSLoRA,
	}
	switch ex := cfg.ExcludeModules; {
	case len(ex) == 1 && isPattern(ex[0]):
		c.ExcludeModules = ex[0]
	case len(ex) > 0:
		c.ExcludeModules = ex
	}
	b, err := json.MarshalIndent(c, "", "  ")
	return append(b, '\n'), err
}

func notNil[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// names of a module's tensors in adapter_model.safetensors.
func (m Module) tensorNames() (a, b string) {
	return tensorPrefix + m.Path + ".lora_A.weight", tensorPrefix + m.Path + ".lora_B.weight"
}

const tensorPrefix = "base_model.model."

// Weights is the content of adapter_model.safetensors for the flat parameters.
func Weights(modules []Module, param []float32) ([]byte, error) {
	var tensors []safetensors.Tensor
	for _, m := range modules {
		a, b := m.tensorNames()
		tensors = append(tensors,
			safetensors.FromFloat32(a, []int{m.R, m.In}, param[m.AOff:m.BOff]),
			safetensors.FromFloat32(b, []int{m.Out, m.R}, param[m.BOff:m.BOff+m.Out*m.R]))
	}
	var buf bytes.Buffer
	if err := safetensors.Write(&buf, map[string]string{"format": "pt"}, tensors); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// ReadWeights reads a PEFT folder's weights into flat parameters. Every tensor of
// modules must be there in its shape, and none beside them.
func ReadWeights(dir string, modules []Module) ([]float32, error) {
	return ReadTensors(filepath.Join(dir, WeightsFile), modules)
}

// ReadTensors is ReadWeights for a file of that form.
func ReadTensors(path string, modules []Module) ([]float32, error) {
	f, err := safetensors.Open(path)
	if err != nil {
		if pickle := strings.TrimSuffix(path, ".safetensors") + ".bin"; errors.Is(err, fs.ErrNotExist) && isFile(pickle) {
			return nil, scu.Errorf(scu.CodeUnsupported, "%s is a pickle, which may run any code when it is read", pickle).
				WithHint("save the adapter again with PEFT's save_pretrained, which writes safetensors")
		}
		return nil, err
	}
	defer f.Close()
	type part struct {
		safetensors.Tensor
		off int
	}
	var parts []part // checked before memory is taken: the ranks are the file's word
	find := func(name string, off, rows, cols int) error {
		t, ok := f.Tensor(name)
		if !ok {
			return scu.Errorf(scu.CodeInvalid, "%s has no tensor %s", path, name)
		}
		if len(t.Shape) != 2 || t.Shape[0] != rows || t.Shape[1] != cols {
			return scu.Errorf(scu.CodeInvalid, "%s: tensor %s has shape %v; want [%d %d]", path, name, t.Shape, rows, cols)
		}
		parts = append(parts, part{t, off})
		return nil
	}
	for _, m := range modules {
		a, b := m.tensorNames()
		if err := find(a, m.AOff, m.R, m.In); err != nil {
			return nil, err
		}
		if err := find(b, m.BOff, m.Out, m.R); err != nil {
			return nil, err
		}
	}
	known := map[string]bool{}
	for _, p := range parts {
		known[p.Name] = true
	}
	for _, m := range modules {
		if m.Head { // PEFT puts a copy of the base's own head beside its adapter
			known[tensorPrefix+m.Path+".base_layer.weight"] = true
		}
	}
	for _, name := range f.Names() {
		if !known[name] {
			return nil, scu.Errorf(scu.CodeUnsupported, "%s: tensor %s belongs to no adapted linear module of this model", path, name)
		}
	}
	out := make([]float32, Count(modules))
	for _, t := range parts {
		v, err := t.Float32()
		if err != nil {
			return nil, err
		}
		for i, x := range v {
			if x-x != 0 {
				return nil, scu.Errorf(scu.CodeInvalid, "%s: tensor %s: element %d is %v", path, t.Name, i, x)
			}
		}
		copy(out[t.off:], v)
	}
	return out, nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// Read reads a PEFT folder for a model with the given linear modules: the modules
// that it adapts and their flat parameters. Target names that the model doesn't
// have mean nothing, as in PEFT, as long as another one does; nor do the patterns of
// modules that aren't adapted.
func Read(dir string, targets []Target, defaults []string) ([]Module, []float32, error) {
	modules, err := ReadModules(dir, targets, defaults)
	if err != nil {
		return nil, nil, err
	}
	param, err := ReadWeights(dir, modules)
	return modules, param, err
}

// ReadModules is Read without the weights.
func ReadModules(dir string, targets []Target, defaults []string) ([]Module, error) {
	cfg, _, err := ReadConfig(dir)
	if err != nil {
		return nil, err
	}
	known := slices.DeleteFunc(slices.Clone(cfg.TargetModules), func(n string) bool {
		return n != scu.AllLinear && !isPattern(n) && !slices.ContainsFunc(targets, func(t Target) bool { return matches(n, t.Path) })
	})
	if len(known) > 0 {
		cfg.TargetModules = known
	}
	bare := cfg
	bare.RankPattern, bare.AlphaPattern = nil, nil
	modules, err := Plan(targets, defaults, bare)
	if err != nil {
		return nil, err
	}
	idle := func(pattern string) bool {
		re, err := endOfPath(pattern)
		return err == nil && !slices.ContainsFunc(modules, func(m Module) bool { return re.MatchString(m.Path) })
	}
	maps.DeleteFunc(cfg.RankPattern, func(p string, _ int) bool { return idle(p) })
	maps.DeleteFunc(cfg.AlphaPattern, func(p string, _ float64) bool { return idle(p) })
	return Plan(targets, defaults, cfg)
}

// Load is Read onto a device, for evaluation: without dropout.
func Load(dev kernels.Device, dir string, targets []Target, defaults []string) (*Adapter, error) {
	modules, w, err := Read(dir, targets, defaults)
	if err != nil {
		return nil, err
	}
	a, err := New(dev, modules, 0)
	if err != nil {
		return nil, err
	}
	dev.WriteF32(a.Param, w)
	return a, nil
}

// ReadConfig reads the adapter_config.json of a PEFT folder: what Plan needs, and
// the base model's name.
func ReadConfig(dir string) (cfg scu.LoRAConfig, baseModel string, err error) {
	path := filepath.Join(dir, ConfigFile)
	b, err := os.ReadFile(path)
	if err != nil {
		return cfg, "", scu.Errorf(scu.CodeInvalid, "not an adapter folder: %w", err)
	}
	return parseConfig(path, b)
}

// parseConfig reads the text b of the adapter_config.json at path.
func parseConfig(path string, b []byte) (cfg scu.LoRAConfig, baseModel string, err error) {
	var c struct {
		PEFTType     string             `json:"peft_type"`
		BaseModel    string             `json:"base_model_name_or_path"`
		R            int                `json:"r"`
		Alpha        float64            `json:"lora_alpha"`
		Dropout      float64            `json:"lora_dropout"`
		UseRSLoRA    bool               `json:"use_rslora"`
		RankPattern  map[string]int     `json:"rank_pattern"`
		AlphaPattern map[string]float64 `json:"alpha_pattern"`
		Targets      json.RawMessage    `json:"target_modules"`
		Exclude      json.RawMessage    `json:"exclude_modules"`
		Layers       json.RawMessage    `json:"layers_to_transform"`
	}
	var all map[string]any
	err = json.Unmarshal(b, &c)
	if err == nil {
		err = json.Unmarshal(b, &all)
	}
	if err != nil {
		return cfg, "", scu.Errorf(scu.CodeInvalid, "%s: %w", path, err)
	}
	if c.PEFTType != "LORA" {
		return cfg, "", scu.Errorf(scu.CodeUnsupported, "%s: peft_type is %q; only LORA adapters are read", path, c.PEFTType)
	}
	for _, name := range unreadable {
		switch v := fmt.Sprint(all[name]); v {
		case "<nil>", "false", "none", "[]", "":
		default:
			return cfg, "", scu.Errorf(scu.CodeUnsupported, "%s: %s is %.60s; only plain LoRA adapters are read", path, name, v)
		}
	}
	if init := fmt.Sprint(all["init_lora_weights"]); !slices.Contains(plainInits, init) {
		return cfg, "", scu.Errorf(scu.CodeUnsupported, "%s: init_lora_weights is %.60q, which changes the base's own weights", path, init).
			WithHint("convert it to plain LoRA with PEFT: save_pretrained with path_initial_model_for_weight_conversion")
	}
	for name, r := range c.RankPattern {
		if r < 1 {
			return cfg, "", scu.Errorf(scu.CodeInvalid, "%s: rank_pattern gives %s the rank %d", path, name, r)
		}
	}
	if c.R < 1 {
		return cfg, "", scu.Errorf(scu.CodeInvalid, "%s: r is %d", path, c.R)
	}
	cfg = scu.LoRAConfig{R: c.R, Alpha: c.Alpha, Dropout: c.Dropout, UseRSLoRA: c.UseRSLoRA, RankPattern: c.RankPattern, AlphaPattern: c.AlphaPattern}
	if json.Unmarshal(c.Targets, &cfg.TargetModules) != nil {
		var one string
		if err := json.Unmarshal(c.Targets, &one); err != nil {
			return cfg, "", scu.Errorf(scu.CodeInvalid, "%s: target_modules is %.60s; want a list of names", path, c.Targets)
		}
		cfg.TargetModules = []string{one}
	}
	if len(c.Exclude) > 0 && json.Unmarshal(c.Exclude, &cfg.ExcludeModules) != nil {
		var one string
		if err := json.Unmarshal(c.Exclude, &one); err != nil {
			return cfg, "", scu.Errorf(scu.CodeInvalid, "%s: exclude_modules is %.60s; want a list of names", path, c.Exclude)
		}
		if one != "" {
			cfg.ExcludeModules = []string{"(?:" + one + ")"} // PEFT takes one string for a regular expression
		}
	}
	if len(c.Layers) > 0 && json.Unmarshal(c.Layers, &cfg.LayersToTransform) != nil {
		var one int
		if err := json.Unmarshal(c.Layers, &one); err != nil {
			return cfg, "", scu.Errorf(scu.CodeInvalid, "%s: layers_to_transform is %.60s; want a list of numbers", path, c.Layers)
		}
		cfg.LayersToTransform = []int{one}
	}
	return cfg, c.BaseModel, nil
}

// plainInits are the values of init_lora_weights that leave the base as it is. All
// others that PEFT knows (PiSSA, OLoRA, CorDA, LoftQ, LoRA-GA) take the adapter's first
// weights out of the base's, so that the adapter means nothing on the base itself.
var plainInits = []string{"<nil>", "true", "false", "gaussian", "eva", "orthogonal"}

// unreadable are the fields of adapter_config.json that make more of an adapter
// than A and B beside whole modules; where one is set the adapter is refused.
var unreadable = []string{
	"bias", "lora_bias", "use_dora", "use_qalora", "use_bdlora", "modules_to_save", "layers_pattern", "layer_replication",
	"target_parameters", "trainable_token_indices", "alora_invocation_tokens", "megatron_config",
	"arrow_config", "kasa_config", "monteclora_config", "velora_config",
}
