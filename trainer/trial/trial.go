// Package trial reads models that others made in a process of its own, which can be
// killed: their tokenizers' patterns and their chat templates may run for ever or take
// any memory, and a goroutine that does can't be ended.
//
// The process is the same program under a subcommand. It gets one [base.Trial] as JSON on
// its standard input and an empty environment, bounds its own memory and files, gives up
// sockets and other programs (see [bound]), tells each step before it begins in a line on its
// standard output, and a last line once it is through. It ends with the process that began
// it, however that ends.
package trial

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
)

// Bounds of a trial. Gemma's tokenizer, the largest in common use, loads within a
// second; text is tokenised at a megabyte a second or faster.
const (
	DefaultMemory = 3 << 29 // bytes
	DefaultTime   = 30 * time.Second
	bytesASecond  = 1 << 20
	leastFile     = 64 << 20 // bytes
	atOnce        = 2
)

// through is the last line of a trial that came to its end.
const through = "through"

// Program runs trials as processes of a program.
type Program struct {
	Path   string
	Args   []string // the program's name, and what makes it call Main
	Memory int64    // bytes; 0 is DefaultMemory
	Time   time.Duration

	turns chan struct{}
}

// New makes a Program with the default bounds.
func New(path string, args ...string) *Program {
	return &Program{Path: path, Args: args, Memory: DefaultMemory, Time: DefaultTime, turns: make(chan struct{}, atOnce)}
}

// job is what a process is given.
type job struct {
	base.Trial
	Memory, File int64 // bytes that it may have, and write into one file
	Parent       int   // the process that began it
}

// Try runs one trial. It returns an error of code invalid that names the file if the
// trial took too long or too much memory, or broke; ctx's if ctx ended first.
func (p *Program) Try(ctx context.Context, t base.Trial) error {
	select {
	case p.turns <- struct{}{}:
		defer func() { <-p.turns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	limit, file := p.limits(t)
	input, err := json.Marshal(job{t, p.Memory, file, os.Getpid()})
	if err != nil {
		return fmt.Errorf("trial: %w", err)
	}
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(bounded, p.Path)
	cmd.Args, cmd.Env, cmd.Stdin = p.Args, []string{}, bytes.NewReader(input)
	cmd.WaitDelay = time.Second
	var steps, complaint bounded64k
	cmd.Stdout, cmd.Stderr = &steps, &complaint
	err = cmd.Run()
	step, done := lastStep(steps.Bytes())
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil && done:
		return nil
	case bounded.Err() != nil:
		return refused("%s took more than the %v allowed", step, limit)
	case bytes.Contains(complaint.Bytes(), []byte("out of memory")) || bytes.Contains(complaint.Bytes(), []byte("cannot allocate")):
		return refused("%s took more than the %d MiB of memory allowed", step, p.Memory>>20)
	case step == "":
		return scu.Errorf(scu.CodeInternal, "the process that tries models didn't start: %v: %.300s", err, complaint.Bytes())
	}
	first, _, _ := bytes.Cut(complaint.Bytes(), []byte("\n"))
	return refused("%s broke the process that read it: %v: %.200s", step, err, first)
}

// refused is the error for a model that was tried in vain.
func refused(format string, args ...any) error {
	return scu.Errorf(scu.CodeInvalid, "the model can't be used: "+format, args...).At("base_model").
		WithHint("a tokenizer's pattern, normalizer or added tokens, or the chat template, may be without bound")
}

// limits are the time that a trial may take, and the bytes of a file that it may write: the
// tokens of its data, some bytes each.
func (p *Program) limits(t base.Trial) (limit time.Duration, file int64) {
	limit, file = p.Time, leastFile
	if t.Data != nil {
		if info, err := os.Stat(t.Data.Path); err == nil {
			limit += time.Duration(info.Size()/bytesASecond) * time.Second
			file += 16 * info.Size()
		}
	}
	return limit, file
}

// lastStep returns the step that was begun last, and whether the trial came to its end.
func lastStep(out []byte) (step string, done bool) {
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		if lines.Text() == through {
			return step, true
		}
		step = lines.Text()
	}
	return step, false
}

// bounded64k keeps the first 64 KiB of what is written.
type bounded64k struct{ bytes.Buffer }

func (b *bounded64k) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), max(0, 64<<10-b.Len()))])
	return len(p), nil
}

// Main is the process's own part: it reads one trial and runs it within its bounds.
func Main(ctx context.Context, in io.Reader, out io.Writer) error {
	var j job
	if err := json.NewDecoder(in).Decode(&j); err != nil {
		return errors.Join(errors.New("trial: the input is none"), err)
	}
	go endWithParent(j.Parent)
	debug.SetMemoryLimit(j.Memory / 4 * 3) // collect harder before the end
	if err := bound(j.Memory, j.File); err != nil {
		return fmt.Errorf("trial: %w", err)
	}
	j.Run(ctx, func(step string) { fmt.Fprintln(out, step) })
	_, err := fmt.Fprintln(out, through)
	return err
}
