package lora_test

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/lora"
)

func targets() []lora.Target {
	var out []lora.Target
	for _, l := range []string{"0", "1"} {
		for _, m := range []string{"self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj"} {
			out = append(out, lora.Target{Path: "model.layers." + l + "." + m, In: 8, Out: 6})
		}
	}
	return out
}

func plan(t *testing.T, c scu.LoRAConfig) []lora.Module {
	t.Helper()
	m, err := lora.Plan(targets(), []string{"q_proj"}, c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func paths(ms []lora.Module) (out []string) {
	for _, m := range ms {
		out = append(out, strings.TrimPrefix(m.Path, "model.layers."))
	}
	return out
}

func TestPlanPicksByName(t *testing.T) {
	for want, names := range map[string][]string{
		"0.self_attn.q_proj 1.self_attn.q_proj":                             scu.DefaultTargetModules(), // the family's own
		"0.self_attn.k_proj 0.mlp.up_proj 1.self_attn.k_proj 1.mlp.up_proj": {"up_proj", "k_proj"},
		"1.mlp.up_proj":                         {"layers.1.mlp.up_proj"},
		"0.self_attn.k_proj 1.self_attn.k_proj": {"k_proj", "layers.1.self_attn.k_proj"}, // one name within another's
		"0.self_attn.q_proj 0.self_attn.k_proj 0.mlp.up_proj 1.self_attn.q_proj 1.self_attn.k_proj 1.mlp.up_proj": {scu.AllLinear},
	} {
		if got := strings.Join(paths(plan(t, scu.LoRAConfig{R: 2, Alpha: 4, TargetModules: names})), " "); got != want {
			t.Errorf("%v picks %s, want %s", names, got, want)
		}
	}
}

// The output head gets an adapter by its name alone, and blocks can be chosen, but
// for modules that are named by their whole path.
func TestPlanPicksTheHeadAndBlocks(t *testing.T) {
	all := append(targets(), lora.Target{Path: "lm_head", In: 8, Out: 20, Head: true})
	for _, c := range []struct {
		names  []string
		layers []int
		want   string
	}{
		{[]string{scu.AllLinear}, []int{1}, "1.self_attn.q_proj 1.self_attn.k_proj 1.mlp.up_proj"},
		{[]string{"lm_head"}, nil, "lm_head"},
		{[]string{`(?:.*?self_attn.*?(?:q|k)_proj)`}, nil, "0.self_attn.q_proj 0.self_attn.k_proj 1.self_attn.q_proj 1.self_attn.k_proj"},
		{[]string{"lm_head", "q_proj"}, []int{0}, "0.self_attn.q_proj lm_head"},
		{[]string{"model.layers.0.mlp.up_proj", "q_proj"}, []int{1}, "0.mlp.up_proj 1.self_attn.q_proj"},
	} {
		ms, err := lora.Plan(all, nil, scu.LoRAConfig{R: 2, Alpha: 4, TargetModules: c.names, LayersToTransform: c.layers})
		if got := strings.Join(paths(ms), " "); err != nil || got != c.want {
			t.Errorf("%v in %v picks %s, want %s (%v)", c.names, c.layers, got, c.want, err)
		}
	}
}

func TestPatternsAndScale(t *testing.T) {
	ms := plan(t, scu.LoRAConfig{R: 4, Alpha: 8, TargetModules: []string{scu.AllLinear}, UseRSLoRA: true,
		RankPattern: map[string]int{"k_proj": 1, `layers\.1\.mlp\.up_proj`: 16}, AlphaPattern: map[string]float64{"up_proj": 2}})
	off := 0
	for i, m := range ms {
		r := []int{4, 1, 4, 4, 1, 16}[i]
		alpha := []float64{8, 8, 2, 8, 8, 2}[i]
		if m.R != r || m.Alpha != alpha || m.Scale != float32(alpha/math.Sqrt(float64(r))) {
			t.Errorf("%s: rank %d alpha %g scale %v", m.Path, m.R, m.Alpha, m.Scale)
		}
		if m.AOff != off || m.BOff != off+r*8 {
			t.Errorf("%s lies at %d, %d; want %d", m.Path, m.AOff, m.BOff, off)
		}
		off += r * 14
	}
	if lora.Count(ms) != off {
		t.Errorf("%d parameters, want %d", lora.Count(ms), off)
	}
}

func TestPlanRefuses(t *testing.T) {
	for says, c := range map[string]scu.LoRAConfig{
		`lora.target_modules[1]: "v_proj" names no linear module of this model (it has q_proj, k_proj, up_proj`: {R: 1, TargetModules: []string{"q_proj", "v_proj"}},
		"lora.rank_pattern.v_proj: matches no adapted module":                                                   {R: 1, TargetModules: []string{"q_proj"}, RankPattern: map[string]int{"v_proj": 1}},
		"lora.target_modules: not a regular expression: error parsing regexp: missing closing ):":               {R: 1, TargetModules: []string{"(q_proj"}},
		"lora.layers_to_transform[1]: the model has no block 2":                                                 {R: 1, TargetModules: []string{"q_proj"}, LayersToTransform: []int{1, 2}},
		"lora.layers_to_transform: it can't be beside a regular expression":                                     {R: 1, TargetModules: []string{`.*q_proj`}, LayersToTransform: []int{1}},
		"lora.alpha_pattern.(: not a module name or regular expression":                                         {R: 1, TargetModules: []string{"q_proj"}, AlphaPattern: map[string]float64{"(": 1}},
	} {
		_, err := lora.Plan(targets(), nil, c)
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v\nwant %s", err, says)
		}
	}
}

// A is uniform in +-1/sqrt(In) and another at each seed and module; B is zero.
func TestInit(t *testing.T) {
	ms := plan(t, scu.LoRAConfig{R: 2, Alpha: 4, TargetModules: []string{scu.AllLinear}})
	w := lora.Init(ms, 1)
	var sum, squares float64
	n := 0
	for _, m := range ms {
		for _, x := range w[m.AOff:m.BOff] {
			if math.Abs(float64(x)) > 1/math.Sqrt(8) {
				t.Fatalf("weight %v over the bound", x)
			}
			sum, squares, n = sum+float64(x), squares+float64(x)*float64(x), n+1
		}
		for _, x := range w[m.BOff : m.BOff+m.Out*m.R] {
			if x != 0 {
				t.Fatalf("B holds %v", x)
			}
		}
	}
	if mean, want := sum/float64(n), 1/8./3; math.Abs(mean) > 0.1 || math.Abs(squares/float64(n)/want-1) > 0.4 {
		t.Errorf("mean %v, variance %v of %d weights", mean, squares/float64(n), n)
	}
	if slices.Equal(w, lora.Init(ms, 2)) || slices.Equal(w[ms[0].AOff:ms[0].BOff], w[ms[1].AOff:ms[1].BOff]) {
		t.Error("seed or module make no difference")
	}
	if !slices.Equal(w, lora.Init(ms, 1)) {
		t.Error("the same seed gives other weights")
	}
}

func TestFolderRoundTrip(t *testing.T) {
	cfg := scu.LoRAConfig{R: 2, Alpha: 4, Dropout: 0.1, TargetModules: []string{"q_proj", "up_proj"}, RankPattern: map[string]int{"up_proj": 3}}
	ms := plan(t, cfg)
	want := lora.Init(ms, 3)
	dir := written(t, cfg, ms, want)

	got, name, err := lora.ReadConfig(dir)
	must(t, err)
	if name != "owner/model" || got.R != 2 || got.Alpha != 4 || got.RankPattern["up_proj"] != 3 || !slices.Equal(got.TargetModules, cfg.TargetModules) {
		t.Errorf("read %+v of %s", got, name)
	}
	back, err := lora.ReadWeights(dir, ms)
	must(t, err)
	if !slices.Equal(back, want) {
		t.Error("the weights changed")
	}
	if _, err := lora.ReadWeights(dir, ms[1:]); err == nil || !strings.Contains(err.Error(), "belongs to no adapted linear module") {
		t.Errorf("tensors that belong to no module: %v", err)
	}
	path := filepath.Join(dir, lora.WeightsFile)
	whole, err := os.Stat(path)
	must(t, err)
	must(t, os.Truncate(path, whole.Size()/2))
	if _, err := lora.ReadWeights(dir, ms); err == nil {
		t.Error("half a file was read")
	}
}

// Names and patterns of modules that this model doesn't have, or that aren't
// adapted, are passed over in somebody else's adapter, as in PEFT.
func TestReadPassesOverWhatMeansNothing(t *testing.T) {
	cfg := scu.LoRAConfig{R: 2, Alpha: 4, TargetModules: []string{"q_proj"}}
	ms := plan(t, cfg)
	want := lora.Init(ms, 3)
	cfg.TargetModules = []string{"q_proj", "c_attn"}
	cfg.RankPattern, cfg.AlphaPattern = map[string]int{"k_proj": 8}, map[string]float64{`layers\.9\..*`: 1}
	dir := written(t, cfg, ms, want)
	got, back, err := lora.Read(dir, targets(), nil)
	must(t, err)
	if !slices.Equal(got, ms) || !slices.Equal(back, want) {
		t.Errorf("read %+v", got)
	}
}

// written is an adapter's folder.
func written(t *testing.T, cfg scu.LoRAConfig, ms []lora.Module, param []float32) string {
	t.Helper()
	dir := t.TempDir()
	weights, err := lora.Weights(ms, param)
	must(t, err)
	config, err := lora.PEFTConfig("owner/model", cfg.TargetModules, ms, cfg)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, lora.WeightsFile), weights, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, lora.ConfigFile), config, 0o600))
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
