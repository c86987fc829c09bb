//go:build unix

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

var upgradeOld = flag.String("upgrade.old", "", "commits, comma-separated, whose services TestUpgrade upgrades role by role; none: not at all")

// A service of an older version, on PostgreSQL and a nats-server of its own, is upgraded
// role by role while it works. At each step older roles and this version's work side by
// side: the job that runs meanwhile and one that is submitted then end with the bytes that
// the older version gave, and nothing is lost.
func TestUpgrade(t *testing.T) {
	if *upgradeOld == "" {
		t.Skip("make upgrade does")
	}
	dir := t.TempDir()
	program, nats := filepath.Join(dir, "scu"), filepath.Join(dir, "nats-server")
	buildSCU(t, program)
	goBuild(t, "../..", nats, "github.com/nats-io/nats-server/v2")
	for commit := range strings.SplitSeq(*upgradeOld, ",") {
		source := filepath.Join(dir, commit)
		git(t, "worktree", "add", "--quiet", "--detach", source, commit)
		t.Cleanup(func() { git(t, "worktree", "remove", "--force", source) })
		old := filepath.Join(dir, "scu-"+commit)
		goBuild(t, source, old, "./cmd/scu")
		begin := func(t *testing.T) *upgrade {
			c, err := start(t.Context(), options{
				files: []string{filepath.Join(source, "compose.yaml")}, dir: t.TempDir(), scu: old, nats: nats,
				env: func(string) []string { return []string{"SCU_CLAIM_TIME=" + claimTime.String(), "SCU_THREADS=1"} },
			})
			check(t, err)
			t.Cleanup(c.stop)
			u := &upgrade{chaos: &chaos{cluster: c, t: t}, program: program}
			u.sdks = u.clients()
			u.data = u.upload()
			return u
		}
		t.Run(commit, func(t *testing.T) {
			u := begin(t)
			u.run()
			if t.Failed() {
				u.keepLogs()
			}
		})
		t.Run(commit+", trainers first", func(t *testing.T) { begin(t).refuse() })
	}
}

// upgrade is a service that is upgraded.
type upgrade struct {
	*chaos
	program string   // this version
	all     []string // jobs
}

// run upgrades it as docs/operations.md has it.
func (u *upgrade) run() {
	first := u.train()
	u.waitFor(first)
	want := u.adapter(first)
	for _, role := range []string{"projector", "api", "trainer"} {
		if role == "trainer" {
			u.updateRights()
		}
		during := u.train()
		u.until(u.t.Context(), "its first steps", func(ctx context.Context) error {
			page, err := u.api().Metrics(ctx, during, 0, 100)
			if err == nil && len(page.Metrics) < 10 {
				err = fmt.Errorf("%d steps", len(page.Metrics))
			}
			return err
		})
		for _, name := range u.named(role) {
			u.replace(name, u.program)
		}
		check(u.t, u.ready(u.t.Context()))
		after := u.train()
		for _, id := range []string{during, after} {
			u.waitFor(id)
			job, err := u.api().Job(u.t.Context(), id)
			check(u.t, err)
			if job.Status != scu.Completed {
				u.t.Fatalf("%s upgraded: job %s is %s: %v", role, id, job.Status, job.Error)
			}
			if got := u.adapter(id); got != want {
				u.t.Errorf("%s upgraded: job %s has other bytes", role, id)
			}
			u.t.Logf("%s upgraded: job %s has the same bytes, in attempt %d", role, id, job.Attempt)
		}
	}
	u.until(u.t.Context(), "all jobs in the list", func(ctx context.Context) error {
		list, err := u.api().Jobs(ctx, client.JobsFilter{Limit: 100})
		if err != nil {
			return err
		}
		listed := map[string]scu.Status{}
		for _, j := range list.Jobs {
			listed[j.JobID] = j.Status
		}
		for _, id := range u.all {
			if listed[id] != scu.Completed {
				return fmt.Errorf("job %s is listed as %q", id, listed[id])
			}
		}
		return nil
	})
}

// refuse starts a trainer of this version where all else is older: it says what is to be
// done, and ends.
func (u *upgrade) refuse() {
	name := u.named("trainer")[0]
	u.replace(name, u.program)
	p := u.process(name)
	select {
	case <-p.done:
	case <-time.After(patience):
		u.t.Error("the trainer doesn't end")
	}
	b, err := os.ReadFile(filepath.Join(u.dir, name, "log"))
	check(u.t, err)
	if !strings.Contains(string(b), "nats-auth --update") {
		u.t.Errorf("its log:\n%s", b)
	}
	id := u.train() // of the other trainer
	u.waitFor(id)
}

// updateRights gives every login the rights of this version, for trainers that are still
// older, and has NATS read them.
func (u *upgrade) updateRights() {
	var trainers []string
	for _, name := range u.named("trainer") {
		trainers = append(trainers, strings.TrimPrefix(name, "trainer-"))
	}
	secrets := filepath.Join(u.dir, "secrets")
	out, err := exec.Command(u.program, "nats-auth", "--dir", secrets, "--update", "--older", strings.Join(trainers, ",")).CombinedOutput()
	if err != nil {
		u.t.Fatalf("%v\n%s", err, out)
	}
	conf, err := os.ReadFile(filepath.Join(secrets, "nats.conf"))
	check(u.t, err)
	for _, name := range u.named("nats") {
		check(u.t, os.WriteFile(u.secretOf(name, "nats.conf"), conf, 0o600))
		check(u.t, u.process(name).cmd.Process.Signal(syscall.SIGHUP))
	}
}

// replace ends a process, a trainer without a word, and starts it as another program.
func (u *upgrade) replace(name, program string) {
	p := u.process(name)
	if kindOf(name) == "trainer" {
		p.cmd.Process.Kill()
	} else {
		p.cmd.Process.Signal(syscall.SIGTERM)
	}
	<-p.done
	<-u.failed // its end was meant
	p.cmd.Path = program
	u.startAgain(name)
}

func (u *upgrade) train() (id string) {
	r := client.SubmitRequest{BaseModel: "bookworm-2m", TrainDataPath: u.data, IdempotencyKey: fmt.Sprint("upgrade-", len(u.all)),
		ConfigOverrides: map[string]any{"steps": 120, "block_size": 128, "seed": 3, "checkpoint_every": 5, "lora": map[string]any{"r": 2, "alpha": 4}}}
	u.until(u.t.Context(), "submit", func(ctx context.Context) error {
		got, err := u.api().Submit(ctx, r)
		id = got.JobID
		return err
	})
	u.all = append(u.all, id)
	return id
}

func (u *upgrade) waitFor(id string) {
	u.until(u.t.Context(), "the end of job "+id, func(ctx context.Context) error {
		s, err := u.api().Status(ctx, id)
		if err == nil && !s.Status.Ended() {
			err = fmt.Errorf("it is %q", s.Status)
		}
		return err
	})
}

// adapter is the digest of what a job ended with.
func (u *upgrade) adapter(id string) string {
	dir := u.t.TempDir()
	zip, err := u.api().DownloadAdapter(u.t.Context(), id, dir, nil)
	check(u.t, err)
	check(u.t, client.Unzip(zip, filepath.Join(dir, "adapter")))
	weights, err := os.ReadFile(filepath.Join(dir, "adapter", "adapter_model.safetensors"))
	check(u.t, err)
	sum := sha256.Sum256(weights)
	return hex.EncodeToString(sum[:])
}

func git(t *testing.T, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "git", args...).CombinedOutput(); err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func goBuild(t *testing.T, source, out, pkg string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", out, pkg)
	cmd.Dir = source
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
}
