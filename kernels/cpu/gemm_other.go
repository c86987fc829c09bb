//go:build !amd64

package cpu

var simds = [...]simd{portable: portableSIMD}

// No tiles here.
type amxScratch struct{}

func enableAMX() bool     { return false }
func newAMX() *amxScratch { return nil }

func (s *gemmScratch) blockAMX(g *gemmArgs, i0, i1, j0, j1 int) {}
