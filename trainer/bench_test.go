package trainer

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/kernels/cpu"
	"github.com/shannon-control/scu/kernels/cuda"
	"github.com/shannon-control/scu/kernels/devices"
	"github.com/shannon-control/scu/trainer/checkpoint"
	"github.com/shannon-control/scu/trainer/control"
	"github.com/shannon-control/scu/trainer/estimate"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/optim"
	"github.com/shannon-control/scu/trainer/safetensors"
	"github.com/shannon-control/scu/trainer/session"
)

// BenchmarkStep times whole optimiser steps: forward, backward, clipping, AdamW
// and the controller, LoRA r=16 on every linear module, no dropout: what
// scripts/bench_torch.py times for PyTorch. It reports tokens/s and, for runs of
// one case alone, the process's peak memory. With SCU_TEST_DEVICE=cuda it runs on
// a GPU in 16 bits and tells the GPU's memory; SCU_BENCH_CASES="FOLDER:BATCHxLEN ..."
// takes other models, FOLDER:BATCHxLENxMICROS more micro-batches a step.
// SCU_BENCH_NF4 quantises them, SCU_BENCH_F16 takes F16 for BF16, SCU_BENCH_TUNE is
// --tune-gpu, SCU_BENCH_CHECKPOINTING gradient_checkpointing, SCU_BENCH_MEMORY
// --gpu-memory.
func BenchmarkStep(b *testing.B) {
	for _, field := range strings.Fields(os.Getenv("SCU_BENCH_CASES")) {
		dir, size, _ := strings.Cut(field, ":")
		c := benchCase{name: filepath.Base(dir), micros: 1}
		if n, _ := fmt.Sscanf(size, "%dx%dx%d", &c.batch, &c.len, &c.micros); n < 2 || c.micros < 1 {
			b.Fatalf("SCU_BENCH_CASES: %q: want FOLDER:BATCHxLEN or FOLDER:BATCHxLENxMICROS", field)
		}
		b.Run(c.String(), func(b *testing.B) { benchmarkStep(b, dir, c) })
	}
	for _, c := range []benchCase{
		{"bookworm-2m", 4, 256, 1}, {"bookworm-2m", 8, 512, 1}, {"gpt2-124m", 4, 256, 1}, {"gpt2-124m", 1, 1024, 1},
	} {
		b.Run(c.String(), func(b *testing.B) {
			dir := "../models/bookworm-2m"
			if c.name == "gpt2-124m" {
				dir = gpt2Shape(b)
			}
			benchmarkStep(b, dir, c)
		})
	}
}

// benchCase is a step of a model: so many micro-batches of batch rows of len tokens.
type benchCase struct {
	name               string
	batch, len, micros int
}

func (c benchCase) String() string {
	s := fmt.Sprintf("%s/%dx%d", c.name, c.batch, c.len)
	if c.micros > 1 {
		s += fmt.Sprintf("x%d", c.micros)
	}
	return s
}

func benchmarkStep(b *testing.B, dir string, c benchCase) {
	check := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	onGPU, half := os.Getenv("SCU_TEST_DEVICE") == "cuda", kernels.BF16
	if os.Getenv("SCU_BENCH_F16") != "" {
		half = kernels.F16
	}
	open := func() (kernels.Device, error) { return cpu.New(runtime.GOMAXPROCS(0)) }
	if onGPU {
		o := kernels.Options{Precision: half}
		if os.Getenv("SCU_BENCH_TUNE") != "" {
			o.Cache = b.TempDir()
		}
		open = func() (kernels.Device, error) { return cuda.Open(0, o) }
	}
	dev, err := open()
	check(err)
	defer dev.Close()
	spec, err := model.ReadSpec(dir)
	check(err)
	files, err := safetensors.OpenModel(dir)
	check(err)
	defer files.Close()
	weights, err := model.Load(dev, spec, files, c.len, model.InNF4(os.Getenv("SCU_BENCH_NF4") != ""))
	check(err)
	defer weights.Close()
	cfg := scu.LoRAConfig{R: 16, Alpha: 32, TargetModules: []string{scu.AllLinear}}
	modules, err := lora.Plan(spec.Targets(), spec.DefaultTargets, cfg)
	check(err)
	job := scu.DefaultConfig()
	job.LoRA, job.BatchSize, job.BlockSize, job.GradientAccumulationSteps, job.UseFP16, job.Use4Bit = cfg, c.batch, c.len, c.micros, true, os.Getenv("SCU_BENCH_NF4") != ""
	if os.Getenv("SCU_BENCH_CHECKPOINTING") != "" {
		job.GradientCheckpointing = new(true)
	}
	run := estimate.Run{Spec: spec, Types: model.Types(spec, files), Config: job, Work: estimate.Work{Longest: c.len}, Device: devices.Classes()[0]}
	if limit := os.Getenv("SCU_BENCH_MEMORY"); limit != "" {
		mib, err := strconv.ParseInt(limit, 10, 64)
		check(err)
		run.Available = estimate.Within(mib<<20, math.MaxInt64)
	}
	plan, err := run.Plan(half, modules)
	check(err)
	s, err := session.New(dev, weights, modules, lora.Init(modules, 1), session.Config{
		Control: scu.DefaultConfig().Control, PriorSigma: 0.1, EpochTokens: 1e6, MaxGradNorm: 1, LearningRate: 1e-4,
		Steps: 1 << 30, MicroBatches: c.micros, Workspace: plan,
	})
	check(err)
	defer s.Close()
	r := rand.New(rand.NewPCG(1, 2))
	micros := make([]model.Batch, c.micros)
	for m := range micros {
		x := model.Batch{Rows: c.batch, Len: c.len, IDs: make([]int32, c.batch*c.len), Targets: make([]int32, c.batch*c.len)}
		for i := range x.IDs {
			x.IDs[i] = int32(r.IntN(spec.Vocab))
			x.Targets[i] = -1
			if i%c.len > 0 {
				x.Targets[i-1] = x.IDs[i]
			}
		}
		micros[m] = x
	}
	ctx := context.Background()
	for range 3 { // the GPU's second step is recorded
		_, err = s.Step(ctx, micros, micros)
		check(err)
	}
	for b.Loop() {
		_, err := s.Step(ctx, micros, micros)
		check(err)
	}
	b.ReportMetric(float64(c.micros*c.batch*c.len*b.N)/b.Elapsed().Seconds(), "tokens/s")
	trained, err := s.Params()
	check(err)
	sum := crc32.NewIEEE()
	check(binary.Write(sum, binary.LittleEndian, trained))
	b.ReportMetric(float64(sum.Sum32()), "crc32") // of the adapter after so many steps
	if onGPU {
		free, total := dev.Available()
		b.ReportMetric(float64(total-free)/(1<<20), "GPU-MiB")
		need, err := run.Needs(half, modules, plan)
		check(err)
		b.ReportMetric(float64(need+scu.GPUContext)/(1<<20), "estimate-MiB")
		b.ReportMetric(float64(plan.AsideMLP), "aside")
		b.ReportMetric(float64(plan.RecomputeMLP), "again")
		return
	}
	b.ReportMetric(peakMiB(), "peak-MiB")
}

// BenchmarkCheckpoint times checkpoints, the read from the device and the sync to
// the disk included: of adapters of rank 16 on every linear module of the models
// named, and of runs that begin and that have told of 100,000 steps. With what
// each costs it reports what they come to in a day of training, at the pace that
// checkpoint.Pace sets: the seconds between two, the share of the time, and the
// bytes written a second.
func BenchmarkCheckpoint(b *testing.B) {
	for _, c := range []struct {
		name   string
		params int
	}{{"bookworm-2m", 217_088}, {"gpt2-124m", 2_359_296}, {"llama-7b", 39_976_960}} {
		for _, rows := range []int{0, 100_000} {
			b.Run(fmt.Sprintf("%s/%d-steps-told", c.name, rows), func(b *testing.B) { benchmarkCheckpoint(b, c.params, rows) })
		}
	}
}

func benchmarkCheckpoint(b *testing.B, params, rows int) {
	dev, err := cpu.New(runtime.GOMAXPROCS(0))
	must(b, err)
	defer dev.Close()
	param, err := dev.Alloc(kernels.F32, params)
	must(b, err)
	adamw, err := optim.NewAdamW(dev, params)
	must(b, err)
	t, err := New(Config{Name: "bench", CacheDir: b.TempDir(), CheckpointDir: b.TempDir()})
	must(b, err)
	r := run{t: t, dev: dev, session: &session.Session{Adapter: &lora.Adapter{Param: param}, Optim: adamw, Control: control.New(scu.DefaultConfig().Control)}}
	rng := rand.New(rand.NewPCG(1, 2))
	random := make([]float32, params)
	for _, buf := range []kernels.Buffer{param, adamw.M, adamw.V} {
		for i := range random {
			random[i] = rng.Float32()
		}
		dev.WriteF32(buf, random)
	}
	for step := range rows {
		x := rng.Float64
		r.csv.Write(scu.CSVFile.Append(nil, &scu.Metrics{Step: step, DataBPT: x(), ParamBPT: x(), S: x(), Lambda: x(), Loss: x(), LearningRate: x(), CE: x(), SHat: x(), GradNorm: x()}))
	}
	step := 0
	for b.Loop() {
		step++
		r.checkpoint(b.Context(), step)
	}
	files, err := filepath.Glob(filepath.Join(t.CheckpointDir, "*", "*"))
	must(b, err)
	info, err := os.Stat(files[0])
	must(b, err)

	cost := b.Elapsed() / time.Duration(b.N)
	const day = 24 * 60 * 60
	made, start := 0, time.Now()
	pace := checkpoint.NewPace(0, params, start)
	for now := start; now.Before(start.Add(day * time.Second)); now = now.Add(time.Second) {
		if pace.Due(1, now) {
			pace.Made(now, now.Add(cost))
			now = now.Add(cost)
			made++
		}
	}
	mb := float64(info.Size()) / 1e6
	b.ReportMetric(mb, "MB")
	b.ReportMetric(day/float64(made), "s-between")
	b.ReportMetric(100*cost.Seconds()*float64(made)/day, "%-of-time")
	b.ReportMetric(mb*float64(made)/day, "MB/s-written")
}

// gpt2Shape writes a random model of GPT-2's shape (124M parameters, fp32), or
// takes the one in the folder SCU_BENCH_DIR, so that writing it doesn't count
// towards the peak memory of the process that is measured.
func gpt2Shape(b *testing.B) string {
	dir := os.Getenv("SCU_BENCH_DIR")
	if dir == "" {
		dir = b.TempDir()
	} else if _, err := os.Stat(filepath.Join(dir, safetensors.SingleFile)); err == nil {
		return dir
	}
	config := `{"model_type":"gpt2","vocab_size":50257,"n_embd":768,"n_layer":12,"n_head":12,"n_positions":1024}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		b.Fatal(err)
	}
	r := rand.New(rand.NewPCG(3, 4))
	var tensors []safetensors.Tensor
	add := func(name string, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		w := make([]float32, n)
		for i := range w {
			w[i] = float32(r.Float64()-0.5) * 0.07
			if len(shape) == 1 && strings.HasSuffix(name, "weight") {
				w[i]++
			}
		}
		tensors = append(tensors, safetensors.FromFloat32(name, shape, w))
	}
	const d = 768
	add("transformer.wte.weight", 50257, d)
	add("transformer.wpe.weight", 1024, d)
	norm := func(path string) { add(path+".weight", d); add(path+".bias", d) }
	linear := func(path string, in, out int) { add(path+".weight", in, out); add(path+".bias", out) }
	norm("transformer.ln_f")
	for i := range 12 {
		h := "transformer.h." + strconv.Itoa(i)
		norm(h + ".ln_1")
		norm(h + ".ln_2")
		linear(h+".attn.c_attn", d, 3*d)
		linear(h+".attn.c_proj", d, d)
		linear(h+".mlp.c_fc", d, 4*d)
		linear(h+".mlp.c_proj", 4*d, d)
	}
	f, err := os.Create(filepath.Join(dir, safetensors.SingleFile))
	if err == nil {
		w := bufio.NewWriterSize(f, 1<<20)
		if err = safetensors.Write(w, nil, tensors); err == nil {
			err = w.Flush()
		}
		f.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	return dir
}

// peakMiB is the process's peak resident memory; 0 where it isn't known.
func peakMiB() float64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kb / 1024
		}
	}
	return 0
}
