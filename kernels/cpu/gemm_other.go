//go:build !amd64

package cpu

var simds = [...]simd{portable: portableSIMD}
