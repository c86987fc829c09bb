package cpu

// Which vector instructions this process uses: the best that the machine has,
// or what SCU_CPU asks for where the machine has that.

import (
	"fmt"
	"os"

	"golang.org/x/sys/cpu"
)

// level is a set of vector instructions; each includes those before it.
type level int

const (
	portable level = iota // plain Go
	avx2                  // AVX2, FMA, F16C
	avx512                // AVX-512 F, BW, DQ, VL
)

var levelNames = [...]string{"portable", "avx2", "avx512"}

func (l level) String() string { return levelNames[l] }

// machineLevel is the best that this machine can run.
func machineLevel() level {
	x := &cpu.X86 // all false on other architectures
	switch {
	case !x.HasAVX2 || !x.HasFMA || !x.HasF16C:
		return portable
	case !x.HasAVX512F || !x.HasAVX512BW || !x.HasAVX512DQ || !x.HasAVX512VL:
		return avx2
	}
	return avx512
}

// levelInUse is decided once, at start. A request for more than the machine has
// gets the most that it has; an unknown one is an error that New returns.
var levelInUse, levelError = chooseLevel(os.Getenv("SCU_CPU"))

// amxInUse says that matrix products use AMX tiles, on top of avx512: where the
// machine has them, the system allows them and SCU_CPU asks for no less.
var amxInUse = levelInUse == avx512 && os.Getenv("SCU_CPU") != "avx512" && machineAMX()

func machineAMX() bool {
	x := &cpu.X86
	return x.HasAMXTile && x.HasAMXBF16 && x.HasAVX512BF16 && enableAMX()
}

func chooseLevel(asked string) (level, error) {
	best := machineLevel()
	if asked == "" {
		return best, nil
	}
	for l, name := range levelNames {
		if asked == name {
			return min(level(l), best), nil
		}
	}
	if asked == "amx" {
		return best, nil
	}
	return best, fmt.Errorf("SCU_CPU=%s: want portable, avx2, avx512 or amx", asked)
}
