package devices

import (
	"strings"
	"testing"
)

// What is found and what to do about it are read together: how GPUs are built in is told by one of them.
func TestFindTellsOnce(t *testing.T) {
	t.Setenv(Variable, "")
	for _, f := range Find(1) {
		if n := strings.Count(f.Found+f.Advice, "make build-cuda"); n > 1 {
			t.Errorf("%s: make build-cuda %d times: %s; %s", f.What, n, f.Found, f.Advice)
		}
	}
}
