package broker

import (
	"strconv"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

func TestLevelTokens(t *testing.T) {
	last := ""
	for p := scu.MinPriority; p <= scu.MaxPriority; p++ {
		l := level{"gpu-24", p, ""}
		if last >= l.rung() {
			t.Fatalf("%q does not sort after %q", l.rung(), last)
		}
		last = l.rung()
		if p%2 == 0 {
			l.lane = laneOf(strconv.Itoa(p))
		}
		if got, ok := parseDurable(l.durable()); !ok || got != l {
			t.Fatalf("durable %q reads as %v", l.durable(), got)
		}
		if got, ok := parseBell(l.bell()); !ok || got != l {
			t.Fatalf("bell %q reads as %v", l.bell(), got)
		}
		id := scu.NewJobID()
		if got, gotID, ok := parseJob(l.job(id)); !ok || got != l || gotID != id {
			t.Fatalf("job %q reads as %v %q", l.job(id), got, gotID)
		}
	}
	for _, bad := range []string{"", "p201", "p999", "p-01", "p1", "100", "p1000", "pabc", "p100_", "p100_0123456789a", "p100_0123456789ag", "p100_0123456789ab_"} {
		if l, ok := parseLevel("cpu", bad); ok {
			t.Errorf("level %q reads as %v", bad, l)
		}
	}
}

func TestTokens(t *testing.T) {
	for _, good := range []string{"cpu", "gpu24", "host-1_b", strings.Repeat("a", 64)} {
		if !scu.ValidClass(good) || !scu.ValidTrainer(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{"", "a.b", "*", ">", "a b", "é", "a\x00", "a\r\nPUB x", strings.Repeat("a", 65)} {
		if scu.ValidClass(bad) || scu.ValidTrainer(bad) {
			t.Errorf("%q is let through", bad)
		}
	}
	for _, reserved := range []string{"api", "submit"} {
		if scu.ValidTrainer(reserved) {
			t.Errorf("a trainer may call itself %q", reserved)
		}
	}
}

func FuzzParseSubjects(f *testing.F) {
	f.Add("scu.jobs.cpu.p100.0123456789abcdef")
	f.Add("scu.jobs.cpu.p100_0123456789ab.0123456789abcdef")
	f.Add("scu.bell.cpu.p100")
	f.Add("cpu-p100")
	f.Add("....")
	f.Fuzz(func(t *testing.T, s string) {
		if l, id, ok := parseJob(s); ok && l.job(id) != s {
			t.Errorf("job %q reads as %q", s, l.job(id))
		}
		if l, ok := parseBell(s); ok && l.bell() != s {
			t.Errorf("bell %q reads as %q", s, l.bell())
		}
		if l, ok := parseDurable(s); ok && l.durable() != s {
			t.Errorf("durable %q reads as %q", s, l.durable())
		}
	})
}
