//go:build linux

package cuda

import (
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "emulators")
	if err != nil {
		panic(err)
	}
	emulators.dir, emulators.done = dir, map[string]func() (string, error){}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}
