// Package checkpoint saves a training run so that it can go on elsewhere, byte
// for byte as if it had never stopped: the adapter's weights, the optimiser's
// moments, the controller and the counters.
//
// A checkpoint is one safetensors file whose metadata holds the counters and a
// sha256 of everything. It appears whole or not at all; the one before it is kept
// until the next, and a damaged one is passed over. Those of a later attempt count
// before those of an earlier one, however far these are, and an attempt that was given
// up, but doesn't know it yet, removes none of its successor's.
//
// A job's folder has a folder for each run of it. They are other runs where a job
// comes to another kind of device, which computes other last bits: each goes on
// from its own checkpoints, so that what it ends with is what it would have given
// alone.
package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
	"github.com/shannon-control/scu/trainer/control"
	"github.com/shannon-control/scu/trainer/optim"
	"github.com/shannon-control/scu/trainer/safetensors"
)

// State is a run after Step optimiser steps.
type State struct {
	Run     string           `json:"run"`     // digest of what makes the run, in letters and digits
	Device  string           `json:"device"`  // that it was made on
	Version string           `json:"version"` // of the program that made it
	Attempt int              `json:"attempt"` // that made it
	Step    int              `json:"step"`
	Tokens  int64            `json:"tokens"`
	Control control.State    `json:"control"`
	Scale   *optim.LossScale `json:"loss_scale,omitempty"` // nil unless activations are F16
	AtBound int              `json:"at_bound"`             // the last steps in a row that left lambda at a bound
	Losses  Losses           `json:"losses"`
	Last    scu.Metrics      `json:"last"`            // of the step, or of the one before if that is open
	Open    *scu.Metrics     `json:"open,omitempty"`  // of the step, if it was broken off before it was validated and told of
	Best    *Best            `json:"best,omitempty"`  // nil before the first validation
	Stale   int              `json:"stale,omitempty"` // validations since Best

	Param, M, V []float32 `json:"-"`
	Metrics     []byte    `json:"-"` // the rows of training_metrics.csv so far
}

// Best is the validation with the lowest loss so far, after Step optimiser steps.
type Best struct {
	Step    int     `json:"step"`
	ValLoss float64 `json:"val_loss"`
	S       float64 `json:"s_ratio"` // of that step

	Param []float32 `json:"-"` // the adapter's weights; nil if the run doesn't keep them
}

// Losses are the validation losses so far.
type Losses struct {
	Before *float64 `json:"before,omitempty"` // validation before the first step
	Last   *float64 `json:"last,omitempty"`   // the newest validation

	OtherBefore *float64 `json:"other_before,omitempty"` // on text of another kind, before the first step
}

const (
	suffix = ".safetensors"
	keep   = 2
	// keys of the metadata
	stateKey  = "scu"
	digestKey = "sha256"
)

// Save writes s into a job's folder, which is made, and removes the checkpoints of its
// run that came before it, but for the last one.
func Save(job string, s State) error {
	dir := filepath.Join(job, s.Run)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	state, err := json.Marshal(s)
	if err != nil {
		return err
	}
	n := len(s.Param)
	tensors := []safetensors.Tensor{
		safetensors.FromFloat32("param", []int{n}, s.Param),
		safetensors.FromFloat32("m", []int{n}, s.M),
		safetensors.FromFloat32("v", []int{n}, s.V),
		safetensors.FromFloat32("best", []int{len(s.best())}, s.best()),
		{Name: "metrics", DType: safetensors.U8, Shape: []int{len(s.Metrics)}, Data: s.Metrics},
	}
	meta := map[string]string{stateKey: string(state), digestKey: digest(string(state), tensors)}
	name := fileName(s)
	err = atomicfile.Write(filepath.Join(dir, name), 0o600, func(w io.Writer) error { return safetensors.Write(w, meta, tensors) })
	if err != nil {
		return err
	}
	names, err := list(dir)
	if err != nil {
		return err
	}
	for _, old := range names[min(slices.Index(names, name)+keep, len(names)):] {
		os.Remove(filepath.Join(dir, old))
	}
	return nil
}

// fileName is how the file of a state is called.
func fileName(s State) string { return fmt.Sprintf("%06d-%010d%s", s.Attempt, s.Step, suffix) }

// best are the best weights, nil if none are kept.
func (s *State) best() []float32 {
	if s.Best == nil {
		return nil
	}
	return s.Best.Param
}

// digest covers the counters and every tensor's bytes.
func digest(state string, tensors []safetensors.Tensor) string {
	h := sha256.New()
	fmt.Fprintf(h, "%d %s", len(state), state)
	for _, t := range tensors {
		fmt.Fprintf(h, " %s %d ", t.Name, len(t.Data))
		h.Write(t.Data)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// list names the checkpoints in dir, newest first: by attempt, then by step. A name
// without an attempt, as older versions made them, is of one before the first.
func list(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(rank(b), rank(a)) })
	return names, nil
}

// rank sorts a checkpoint's name.
func rank(name string) string {
	if !strings.Contains(name, "-") {
		return "000000-" + name
	}
	return name
}

// Load returns the newest good checkpoint of a run in its job's folder, and false
// if there is none. Damaged ones are told of in problems and passed over.
func Load(job, run string, params int) (s State, ok bool, problems []error) {
	dir := filepath.Join(job, run)
	names, err := list(dir)
	if err != nil {
		return s, false, []error{err}
	}
	for _, name := range names {
		s, err := read(filepath.Join(dir, name), params)
		if err == nil && s.Run != run {
			err = fmt.Errorf("%s is of another run", filepath.Join(dir, name))
		}
		if err == nil {
			return s, true, problems
		}
		problems = append(problems, err)
	}
	return State{}, false, problems
}

// Others are the newest states of a job's other runs, without their tensors.
func Others(job, run string) (others []State) {
	runs, _ := os.ReadDir(job)
	for _, r := range runs {
		if r.Name() == run {
			continue
		}
		names, _ := list(filepath.Join(job, r.Name()))
		for _, name := range names {
			if s, err := describe(filepath.Join(job, r.Name(), name)); err == nil {
				others = append(others, s)
				break
			}
		}
	}
	return others
}

// describe reads what a checkpoint's header says, unverified.
func describe(path string) (s State, err error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	err = json.Unmarshal([]byte(f.Metadata()[stateKey]), &s)
	return s, err
}

func read(path string, params int) (s State, err error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return s, err
	}
	defer f.Close()
	var tensors []safetensors.Tensor
	for _, name := range []string{"param", "m", "v", "best", "metrics"} {
		t, ok := f.Tensor(name)
		if !ok {
			return s, fmt.Errorf("%s has no %s", path, name)
		}
		tensors = append(tensors, t)
	}
	state := f.Metadata()[stateKey]
	if digest(state, tensors) != f.Metadata()[digestKey] {
		return s, fmt.Errorf("%s is damaged: its digest is another", path)
	}
	if err := json.Unmarshal([]byte(state), &s); err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	for i, dst := range []*[]float32{&s.Param, &s.M, &s.V} {
		if *dst, err = tensors[i].Float32(); err != nil {
			return s, err
		}
		if len(*dst) != params {
			return s, fmt.Errorf("%s holds %d parameters; the adapter has %d", path, len(*dst), params)
		}
	}
	if best := tensors[3]; s.Best != nil && best.Shape[0] > 0 {
		if s.Best.Param, err = best.Float32(); err != nil {
			return s, err
		}
		if len(s.Best.Param) != params {
			return s, fmt.Errorf("%s holds %d parameters of the best step; the adapter has %d", path, len(s.Best.Param), params)
		}
	}
	s.Metrics = append([]byte(nil), tensors[4].Data...)
	return s, nil
}

// Remove deletes a job's checkpoints.
func Remove(job string) error { return os.RemoveAll(job) }
