//go:build linux

package cuda

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "emulators")
	if err != nil {
		panic(err)
	}
	emulators.dir, emulators.done = dir, map[string]func() (string, error){}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}
