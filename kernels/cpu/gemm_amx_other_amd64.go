//go:build !linux

package cpu

// enableAMX: only Linux is known to hand out the tile registers.
func enableAMX() bool { return false }
