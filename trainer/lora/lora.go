// Package lora holds the trainable parameters of a LoRA adapter
// (arXiv:2106.09685) and reads and writes them as PEFT does.
//
// All A and B matrices lie one after the other in a single flat buffer, and so
// do their gradients: the optimiser, the regulariser, clipping and checkpoints
// each work on one run of numbers.
package lora

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/random"
)

// Target is a linear module that may get an adapter.
type Target struct {
	Path    string
	In, Out int
	Conv1D  bool // its weight is stored [In, Out]: PEFT's fan_in_fan_out
	Head    bool // the output head, which "all-linear" leaves out
}

// Module is one adapted linear module: y += Scale (drop(x) A^T) B^T, with A [R,In]
// and B [Out,R] at AOff and BOff in the flat buffer.
type Module struct {
	Target
	R          int
	Alpha      float64
	Scale      float32
	AOff, BOff int
}

// Plan picks the modules that cfg names among the model's linear modules, in
// their order. defaults are the family's own names for the default targets.
// A name that matches nothing is an error that lists what there is.
func Plan(targets []Target, defaults []string, cfg scu.LoRAConfig) ([]Module, error) {
	if len(cfg.LayersToTransform) > 0 && slices.ContainsFunc(cfg.TargetModules, isPattern) {
		return nil, scu.Errorf(scu.CodeInvalid, "it can't be beside a regular expression in target_modules, as in PEFT").At("lora.layers_to_transform").
			WithHint("let the expression say which blocks, or name the modules")
	}
	names := Names(targets, defaults, cfg)
	ranks, err := compile("rank_pattern", cfg.RankPattern)
	if err != nil {
		return nil, err
	}
	alphas, err := compile("alpha_pattern", cfg.AlphaPattern)
	if err != nil {
		return nil, err
	}
	for i, n := range names {
		if isPattern(n) {
			if _, err := wholePath(n); err != nil {
				return nil, scu.Errorf(scu.CodeInvalid, "not a regular expression: %v", err).At("lora.target_modules")
			}
		}
		if !slices.ContainsFunc(targets, func(t Target) bool { return matches(n, t.Path) }) {
			return nil, scu.Errorf(scu.CodeInvalid, "%q names no linear module of this model", n).
				At(fmt.Sprintf("lora.target_modules[%d]", i)).WithHint("it has %s; or use %q", strings.Join(suffixes(targets), ", "), scu.AllLinear)
		}
	}
	for i, layer := range cfg.LayersToTransform {
		if !slices.ContainsFunc(targets, func(t Target) bool { return inLayers(t.Path, []int{layer}) }) {
			return nil, scu.Errorf(scu.CodeInvalid, "the model has no block %d", layer).At(fmt.Sprintf("lora.layers_to_transform[%d]", i))
		}
	}
	if targets, err = exclude(targets, cfg); err != nil {
		return nil, err
	}
	var out []Module
	off := 0
	for _, t := range targets {
		if !slices.Contains(names, t.Path) && !(slices.ContainsFunc(names, func(n string) bool { return matches(n, t.Path) }) && inLayers(t.Path, cfg.LayersToTransform)) {
			continue
		}
		m := Module{Target: t, R: ranks.find(t.Path, cfg.R), Alpha: alphas.find(t.Path, cfg.Alpha)}
		m.Scale = float32(m.Alpha / float64(m.R))
		if cfg.UseRSLoRA {
			m.Scale = float32(m.Alpha / math.Sqrt(float64(m.R)))
		}
		m.AOff, m.BOff = off, off+m.R*t.In
		off = m.BOff + t.Out*m.R
		out = append(out, m)
	}
	if len(out) == 0 && len(cfg.ExcludeModules) > 0 {
		return nil, scu.Errorf(scu.CodeInvalid, "leaves no module to adapt of %s", strings.Join(names, ", ")).At("lora.exclude_modules")
	}
	if len(out) == 0 {
		return nil, scu.Errorf(scu.CodeInvalid, "the blocks %v have none of the modules %s", cfg.LayersToTransform, strings.Join(names, ", ")).At("lora.layers_to_transform")
	}
	if err := errors.Join(ranks.idle("rank_pattern", out), alphas.idle("alpha_pattern", out)); err != nil {
		return nil, err
	}
	return out, nil
}

// idle refuses a pattern that no module matches.
func (p patterns[V]) idle(field string, modules []Module) error {
	for _, e := range p {
		if !slices.ContainsFunc(modules, func(m Module) bool { return e.re.MatchString(m.Path) }) {
			return scu.Errorf(scu.CodeInvalid, "matches no adapted module").At("lora." + field + "." + e.text)
		}
	}
	return nil
}

// exclude leaves out the modules that cfg.ExcludeModules names.
func exclude(targets []Target, cfg scu.LoRAConfig) ([]Target, error) {
	for i, n := range cfg.ExcludeModules {
		re, err := wholePath(n)
		switch {
		case !isPattern(n):
			re = regexp.MustCompile(`^(?:.*\.)?` + regexp.QuoteMeta(n) + `$`)
		case err != nil:
			return nil, scu.Errorf(scu.CodeInvalid, "not a regular expression: %v", err).At(fmt.Sprintf("lora.exclude_modules[%d]", i))
		}
		targets = slices.DeleteFunc(slices.Clone(targets), func(t Target) bool { return re.MatchString(t.Path) })
	}
	return targets, nil
}

// Names are the target module names that cfg means for this model: its own list,
// the family's where it is the default list, every module's for "all-linear", the
// paths that match where it is one regular expression (of whole paths, as in PEFT).
func Names(targets []Target, defaults []string, cfg scu.LoRAConfig) []string {
	names := cfg.TargetModules
	if slices.Equal(names, []string{scu.AllLinear}) {
		return suffixes(slices.DeleteFunc(slices.Clone(targets), func(t Target) bool { return t.Head }))
	}
	if len(names) == 1 && isPattern(names[0]) {
		re, err := wholePath(names[0])
		var paths []string
		for _, t := range targets {
			if err == nil && re.MatchString(t.Path) {
				paths = append(paths, t.Path)
			}
		}
		if len(paths) > 0 {
			return paths
		}
	}
	standard := scu.DefaultTargetModules()
	a, b := slices.Sorted(slices.Values(names)), slices.Sorted(slices.Values(standard))
	if slices.Equal(a, b) {
		return defaults
	}
	return names
}

// isPattern tells a regular expression from a module's name.
func isPattern(name string) bool { return strings.ContainsAny(name, `*+?()[]{}|\^$`) }

func wholePath(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile(`^(?:` + pattern + `)$`)
}

// matches reports whether PEFT takes name for the module at path: the whole path or
// its end after a dot.
func matches(name, path string) bool {
	return path == name || strings.HasSuffix(path, "."+name)
}

// inLayers reports whether the module at path is in one of the blocks; with no blocks
// given, it is.
func inLayers(path string, layers []int) bool {
	if len(layers) == 0 {
		return true
	}
	m := layerIndex.FindStringSubmatch(path)
	return m != nil && slices.ContainsFunc(layers, func(i int) bool { return m[1] == strconv.Itoa(i) })
}

// layerIndex finds the number of a module's block, where PEFT does: the first in
// the path that has two names before it.
var layerIndex = regexp.MustCompile(`^.*?\.[^.]*\.(\d+)\.`)

// suffixes are the distinct last parts of the modules' paths.
func suffixes(targets []Target) []string {
	seen := map[string]bool{}
	var out []string
	for _, t := range targets {
		s := t.Path[strings.LastIndexByte(t.Path, '.')+1:]
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
}

type pattern[V int | float64] struct {
	text  string
	re    *regexp.Regexp
	value V
}

type patterns[V int | float64] []pattern[V]

// compile reads a rank_pattern or alpha_pattern as PEFT does: each key is a
// regular expression for the end of the path, after a dot.
func compile[V int | float64](field string, m map[string]V) (patterns[V], error) {
	var out patterns[V]
	for k, v := range m {
		re, err := endOfPath(k)
		if err != nil {
			return nil, scu.Errorf(scu.CodeInvalid, "not a module name or regular expression: %v", err).At("lora." + field + "." + k)
		}
		out = append(out, pattern[V]{k, re, v})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].text < out[j].text })
	return out, nil
}

func endOfPath(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile(`^(?:.*\.)?(?:` + pattern + `)$`)
}

func (p patterns[V]) find(path string, def V) V {
	for _, e := range p {
		if e.re.MatchString(path) {
			return e.value
		}
	}
	return def
}

// Count is the number of parameters of the modules.
func Count(modules []Module) int {
	if len(modules) == 0 {
		return 0
	}
	m := modules[len(modules)-1]
	return m.BOff + m.Out*m.R
}

// Adapter is the parameters and their gradients on a device.
type Adapter struct {
	Modules     []Module
	Dropout     float32
	Param, Grad kernels.Buffer // F32 [Count]

	dev    kernels.Device
	byPath map[string]int
}

// New makes an adapter of zeros on a device.
func New(dev kernels.Device, modules []Module, dropout float64) (*Adapter, error) {
	a := &Adapter{Modules: modules, Dropout: float32(dropout), dev: dev, byPath: map[string]int{}}
	for i, m := range modules {
		a.byPath[m.Path] = i
	}
	n := Count(modules)
	var err error
	if a.Param, err = dev.Alloc(kernels.F32, n); err != nil {
		return nil, err
	}
	if a.Grad, err = dev.Alloc(kernels.F32, n); err != nil {
		dev.Free(a.Param)
		return nil, err
	}
	return a, nil
}

// Close frees the buffers.
func (a *Adapter) Close() {
	a.dev.Free(a.Param)
	a.dev.Free(a.Grad)
}

// Find returns the index of the module at a path, or -1.
func (a *Adapter) Find(path string) int {
	if i, ok := a.byPath[path]; ok {
		return i
	}
	return -1
}

// A is module i's [R,In] matrix in buf, which is Param, Grad or of their shape.
func (a *Adapter) A(buf kernels.Buffer, i int) kernels.Mat {
	m := a.Modules[i]
	return kernels.Mat{Buf: buf, Off: m.AOff, Rows: m.R, Cols: m.In, Stride: m.In}
}

// B is module i's [Out,R] matrix in buf.
func (a *Adapter) B(buf kernels.Buffer, i int) kernels.Mat {
	m := a.Modules[i]
	return kernels.Mat{Buf: buf, Off: m.BOff, Rows: m.Out, Cols: m.R, Stride: m.R}
}

// Init fills A with the uniform numbers of PEFT's default (Kaiming's with
// a = sqrt 5: between -1/sqrt(In) and 1/sqrt(In)) and B with zeros. The numbers
// are a function of the seed, the module's index and the position alone.
func Init(modules []Module, seed int64) []float32 {
	w := make([]float32, Count(modules))
	for i, m := range modules {
		bound := 1 / math.Sqrt(float64(m.In))
		key := random.Key(uint64(seed), random.StreamInit, uint64(i))
		for j := range m.R * m.In {
			w[m.AOff+j] = float32((2*random.Uniform(key, uint64(j)) - 1) * bound)
		}
	}
	return w
}
