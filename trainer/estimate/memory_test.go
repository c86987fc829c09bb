package estimate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/trainer/base"
)

// What doesn't fit into memory is recomputed, and what doesn't fit then is refused.
func TestPlan(t *testing.T) {
	m, err := base.Open("../../models/bookworm-2m")
	must(t, err)
	defer m.Close()
	run := Run{Spec: m.Spec, Types: m.Types(), Config: scu.DefaultConfig(), Work: Work{Longest: 512}}
	run.Config.BatchSize, run.Config.BlockSize = 8, 512
	modules, err := m.Modules(run.Config.LoRA)
	must(t, err)
	o, err := run.Plan(modules)
	if err != nil || o.Recompute || o.Batch != 8 || o.Len != 512 {
		t.Fatalf("with unknown memory: %+v, %v", o, err)
	}
	p, err := outline(newRecorder(), run, modules, o)
	must(t, err)
	kept := p.loaded + p.learning + p.activations
	o.Recompute = true
	p, err = outline(newRecorder(), run, modules, o)
	must(t, err)
	tight := p.learning + p.activations

	with := func(available int64, types func(string) kernels.DType) (bool, error) {
		r := run
		r.Available, r.Types = available, types
		o, err := r.Plan(modules)
		return o.Recompute, err
	}
	const room = 64 << 10
	limit := func(n int64) int64 { return int64(float64(n) / share) }
	for _, c := range []struct {
		available int64
		recompute bool
		fits      bool
	}{{limit(kept) + room, false, true}, {limit(kept) - room, true, true}, {limit(tight) + room, true, true}, {limit(tight) - room, true, false}} {
		recompute, err := with(c.available, run.Types)
		if recompute != c.recompute || (err == nil) != c.fits {
			t.Errorf("with %d available: recompute %v, %v", c.available, recompute, err)
		}
		if err != nil && (scu.CodeOf(err) != scu.CodeMemory || !strings.Contains(err.Error(), "lower batch_size (now 8)")) {
			t.Error(err)
		}
	}
	// The same model in fewer bits leaves more room for activations.
	if recompute, err := with(limit(kept)-room, func(string) kernels.DType { return kernels.NF4 }); err != nil || recompute {
		t.Errorf("in 4 bits: recompute %v, %v", recompute, err)
	}
}

// What is available is the system's, and no more than the control groups leave.
func TestAvailable(t *testing.T) {
	const kB = 1 << 10
	system := func(files map[string]string) string {
		root := t.TempDir()
		for name, text := range files {
			path := filepath.Join(root, name)
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.WriteFile(path, []byte(text), 0o600))
		}
		return root
	}
	const meminfo = "MemTotal:       16000 kB\nMemFree:         900 kB\nMemAvailable:    8000 kB\n"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no /proc":    {nil, 0},
		"no groups":   {map[string]string{"proc/meminfo": meminfo}, 8000 * kB},
		"no number":   {map[string]string{"proc/meminfo": "MemAvailable: many kB\n"}, 0},
		"no limit":    {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n", "sys/fs/cgroup/a/b/memory.current": "77\n"}, 8000 * kB},
		"a container": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "5000000\n", "sys/fs/cgroup/memory.current": "3000000\n", "sys/fs/cgroup/memory.stat": "anon 100\nactive_file 200\ninactive_file 500\n"}, 2_000_700},
		"a limit above": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "1:memory:/x\n0::/a/b\n", "sys/fs/cgroup/a/memory.max": "5000000\n", "sys/fs/cgroup/a/memory.current": "3000000\n",
			"sys/fs/cgroup/a/b/memory.max": "9000000", "sys/fs/cgroup/a/b/memory.current": "1000000"}, 2_000_000},
		"nothing left":    {map[string]string{"proc/meminfo": meminfo, "sys/fs/cgroup/memory.max": "5000\n", "sys/fs/cgroup/memory.current": "5100\n"}, 1},
		"a group outside": {map[string]string{"proc/meminfo": meminfo, "proc/self/cgroup": "0::/../../etc\n"}, 8000 * kB},
	} {
		if got := available(system(c.files)); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
