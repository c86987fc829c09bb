//go:build linux

package main

import (
	"os/exec"
	"strings"
	"testing"
)

// A process that may open few files says so at its start; its soft limit is raised to the
// hard one.
func TestFewHandlesAreTold(t *testing.T) {
	for limits, warned := range map[string]bool{"ulimit -Sn 256; ulimit -Hn 1000": true, "ulimit -Sn 256": false} {
		c := exec.Command("sh", "-c", limits+`; exec scu projector --data "$0" --nats-url nats://127.0.0.1:1 --rebuild`, t.TempDir()) // testscript put it into PATH
		out, err := c.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		said := ""
		for buf := make([]byte, 4096); !strings.Contains(said, "waiting for the other roles"); {
			n, err := out.Read(buf)
			said += string(buf[:n])
			if err != nil {
				break
			}
		}
		c.Process.Kill()
		c.Wait()
		if got := strings.Contains(said, "files may be open"); got != warned {
			t.Errorf("%s: it says %s", limits, said)
		}
	}
}
