package cpu

import "syscall"

// enableAMX asks the system for the tile registers, for every thread of the
// process, and reports whether it grants them.
func enableAMX() bool {
	const (
		archRequestPermission = 0x1023 // ARCH_REQ_XCOMP_PERM
		tileData              = 18     // XFEATURE_XTILEDATA
	)
	_, _, errno := syscall.RawSyscall(syscall.SYS_ARCH_PRCTL, archRequestPermission, tileData, 0)
	return errno == 0
}
