// Package estimate predicts what a training run will take: its parameters, its peak
// memory, and its time.
//
// Nothing is guessed from tables. The code that trains (session.Session) runs over a
// device that only records what is asked of it (record.go): memory is what was
// allocated, and time is the sum over all operations, each shape timed once on this
// machine (calibrate.go).
package estimate

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/session"
)

// Run is the run to estimate.
type Run struct {
	Spec *model.Spec
	// Types gives the type of each matrix of the model by its tensor's name.
	Types func(name string) kernels.DType
	// Config with its block size fitted to the model.
	Config scu.Config
	Work   Work
	// Device is what it runs on, by what devices.Classes tells of it.
	Device devices.Kind
	// Available memory in bytes before the model is loaded; 0 if it isn't known.
	Available int64
	// HostRefused: the host has no memory for the model's table, which lies on the device (model.Weights.HostRefused).
	HostRefused bool
}

// Of estimates the run r.
func (c *Calibration) Of(ctx context.Context, r Run) (e scu.Estimate, err error) {
	cfg := &r.Config
	modules, err := lora.Plan(r.Spec.Targets(), r.Spec.DefaultTargets, cfg.LoRA)
	if err != nil {
		return e, err
	}
	rows, valRows := min(cfg.BatchSize, r.Work.Blocks), min(cfg.BatchSize, r.Work.ValBlocks)
	dev, err := c.Device.Open(cfg.Half())
	if err != nil {
		return e, err
	}
	defer dev.Close()
	work, err := r.Plan(dev.Activations(), modules)
	if err != nil {
		return e, err
	}
	e.Parameters, e.Trainable = r.Spec.Parameters(), int64(lora.Count(modules))

	p, err := outline(newRecorder(dev), r, modules, work)
	if err != nil {
		return e, err
	}
	if err := p.record(ctx, rows, valRows, r.Work.Longest); err != nil {
		return e, err
	}
	if e.Memory = p.memory(e.Trainable); r.Device.Scratch != nil {
		e.Memory = p.onGPU()
	}
	e.Memory.Checkpointing, e.Memory.Available = work.Recomputes(), r.Available
	var v scu.Validation
	v.Advise(cfg)
	e.Warnings = slices.Concat(v.Texts(), r.Spec.Warnings(modules), r.Work.Warnings(cfg))
	if r.Available > 0 && e.Memory.Peak > r.Available {
		e.Warnings = append(e.Warnings, fmt.Sprintf("only %s of memory are available: weights are read from the disk again and again, which takes longer than estimated here", size(r.Available)))
	}

	var cost [3]float64 // of a step of one micro-batch, a step of two, a batch of validation
	for i, calls := range []map[string]*call{p.one, p.two, p.validation} {
		if cost[i], err = c.seconds(ctx, dev, calls); err != nil {
			return e, err
		}
	}
	micro := cost[1] - cost[0]
	optimiser := cost[0] - micro
	full, valFull := float64(rows*r.Work.Longest), float64(max(1, valRows)*r.Work.Longest)
	perEpoch := r.Work.stepsPerEpoch(cfg)
	tokens := float64(r.Work.Tokens) / float64(perEpoch) // of a step, on average
	e.Steps, e.Validations = r.Work.Steps(cfg), r.Work.validations(cfg)
	e.Tokens = int64(math.Round(tokens * float64(e.Steps)))
	e.StepSeconds = micro*tokens/full + optimiser
	e.TokensPerSecond = tokens / e.StepSeconds
	e.Seconds = float64(e.Steps)*e.StepSeconds + float64(e.Validations)*cost[2]*float64(r.Work.ValTokens)/valFull
	return e, nil
}

// passes are a run's parts as a recorder noted them.
type passes struct {
	rec                           *recorder
	session                       *session.Session
	loaded, learning, activations int64 // bytes of the model, of the adapter and its optimiser, of the workspace
	one, two, validation          map[string]*call
}

// outline sets up a run on a recorder.
func outline(rec *recorder, r Run, modules []lora.Module, o model.WorkspaceOptions) (*passes, error) {
	dev := kernels.Device(rec)
	if r.Device.Scratch != nil {
		dev = besideHost{rec, r.HostRefused}
	}
	weights, err := model.Outline(dev, r.Spec, r.Config.BlockSize, r.Types, model.InNF4(r.nf4()))
	if err != nil {
		return nil, err
	}
	p := &passes{rec: rec, loaded: rec.bytes}
	p.session, err = session.New(dev, weights, modules, nil, session.Config{
		Control: r.Config.Control, PriorSigma: r.Config.PriorSigma, EpochTokens: r.Work.Tokens, MaxGradNorm: r.Config.MaxGradNorm,
		LearningRate: r.Config.LearningRate, Steps: 2, Dropout: r.Config.LoRA.Dropout, Workspace: o,
		MicroBatches: max(2, r.Config.GradientAccumulationSteps), // two tell a micro-batch's share from the optimiser's
	})
	if err != nil {
		return nil, err
	}
	learning := []kernels.Buffer{p.session.Adapter.Param, p.session.Adapter.Grad, p.session.Optim.M, p.session.Optim.V}
	if p.session.Scale != nil {
		learning = append(learning, p.session.Grad)
	}
	for _, b := range learning {
		p.learning += int64(b.DType().Bytes(b.Len()))
	}
	p.activations = rec.bytes - p.loaded - p.learning
	return p, nil
}

// record notes the cost of a validation batch of valRows, and of optimiser steps with one
// and with two micro-batches of rows.
func (p *passes) record(ctx context.Context, rows, valRows, length int) error {
	batch := func(rows int) data.Batch {
		n := rows * length
		return data.Batch{Rows: rows, Len: length, IDs: make([]int32, n), Targets: make([]int32, n)}
	}
	p.rec.take()
	if valRows > 0 {
		_, err := p.session.Evaluate(ctx, func(yield func(data.Batch, error) bool) { yield(batch(valRows), nil) })
		if err != nil {
			return err
		}
	}
	p.validation = p.rec.take()

	micro := model.Batch(batch(rows))
	for _, s := range []struct {
		micros []model.Batch
		calls  *map[string]*call
	}{{[]model.Batch{micro}, &p.one}, {[]model.Batch{micro, micro}, &p.two}} {
		if _, err := p.session.Step(ctx, s.micros, nil); err != nil {
			return err
		}
		*s.calls = p.rec.take()
	}
	return nil
}

// What a scu process takes besides a job's model and activations, measured on scu
// serve: the program with its libraries and stacks, and, on Go's heap, the embedded
// NATS server, the read model and the tokenizer.
const (
	programBytes = 42 << 20
	serviceHeap  = 8 << 20
)

// savedCopies is how many copies of the weights the host has at a checkpoint: with both
// moments and the best weights, which it also keeps between checkpoints.
const savedCopies = 5

func (p *passes) memory(trainable int64) scu.MemoryEstimate {
	m := scu.MemoryEstimate{Weights: p.loaded, Activations: p.activations, Adapter: p.learning}
	m.Scratch = p.rec.scratch()
	// The collector starts once garbage equals what is in use, the memory of the device's
	// threads included. The copies of a large adapter alone are more than that.
	garbage := max(serviceHeap+p.rec.of.Scratch(), savedCopies*4*trainable)
	m.Process = programBytes + serviceHeap + garbage
	m.Peak = m.Weights + m.Activations + m.Adapter + m.Scratch + m.Process
	return m
}
