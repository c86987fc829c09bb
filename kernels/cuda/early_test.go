//go:build cuda && cgo && linux

package cuda

import (
	"os"
	"regexp"
	"testing"
)

// A kernel that is started early and doesn't begin with begin() reads what the work ahead of it is still writing, now and
// then: no run of it would show that reliably, so its source has to.
func TestDeviceStartsEarlyWhatWaits(t *testing.T) {
	if realGPU {
		t.Skip("the test program may be far from the sources")
	}
	kernel := regexp.MustCompile(`__global__[^{]*\{\s*(begin\(\);)?`)
	for source := range early {
		text, err := os.ReadFile(source + ".cu")
		must(t, err)
		found := kernel.FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("%s.cu: no kernel", source)
		}
		for _, k := range found {
			if k[1] == "" {
				t.Errorf("%s.cu: started early, but doesn't wait: %s", source, k[0])
			}
		}
	}
}
