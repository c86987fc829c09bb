//go:build unix

package main

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clockVariable names a file of eight bytes: how far, in nanoseconds, the wall clock of
// processes built by buildStepped is ahead, as it is now.
const clockVariable = "CHAOS_CLOCK"

// buildStepped builds Go programs whose wall clock can be stepped while they run. Package
// time is laid over with one that adds the file's number; what is measured by the
// monotonic clock goes on as it does when a machine's clock is set.
func buildStepped(t *testing.T, dir string, programs map[string]string) {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	check(t, err)
	original := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	b, err := os.ReadFile(original)
	check(t, err)
	const now = "	sec, nsec, mono := runtimeNow()\n	if mono == 0 {"
	source := string(b)
	if strings.Count(source, now) != 1 {
		t.Fatalf("%s has no Now that is known here", original)
	}
	source = strings.Replace(source, now, `	sec, nsec, mono := runtimeNow()
	if stepped != nil {
		at := sec*1e9 + int64(nsec) + *(*int64)(unsafe.Pointer(&stepped[0]))
		sec, nsec = at/1e9, int32(at%1e9)
	}
	if mono == 0 {`, 1)
	source = strings.Replace(source, "import (\n", "import (\n	\"syscall\"\n", 1)
	source = strings.Replace(source, "_ \"unsafe\"", "\"unsafe\"", 1)
	source += `
var stepped = func() []byte {
	name, ok := syscall.Getenv("` + clockVariable + `")
	if !ok {
		return nil
	}
	fd, err := syscall.Open(name, syscall.O_RDONLY, 0)
	if err != nil {
		return nil
	}
	b, err := syscall.Mmap(fd, 0, 8, syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return nil
	}
	return b
}()
`
	laid := filepath.Join(dir, "time.go")
	check(t, os.WriteFile(laid, []byte(source), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: laid}})
	check(t, err)
	file := filepath.Join(dir, "overlay.json")
	check(t, os.WriteFile(file, overlay, 0o600))
	for out, pkg := range programs {
		if said, err := exec.Command("go", "build", "-overlay", file, "-o", out, pkg).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, said)
		}
	}
}

// setClock puts the clock that a file stands for ahead; behind, if it is negative.
func setClock(t testing.TB, file string, ahead time.Duration) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600) // in place: it is mapped
	check(t, err)
	defer f.Close()
	_, err = f.Write(binary.NativeEndian.AppendUint64(nil, uint64(ahead)))
	check(t, err)
}

// A stepped clock is what the program sees, from the moment on when it is stepped.
func TestSteppedClock(t *testing.T) {
	if testing.Short() || !*chaosClock {
		t.Skip("builds a standard library of its own: make chaos does")
	}
	dir := t.TempDir()
	main := filepath.Join(dir, "main.go")
	check(t, os.WriteFile(main, []byte("package main\n\nimport (\n\t\"fmt\"\n\t\"time\"\n)\n\nfunc main() { fmt.Println(time.Now().Unix()) }\n"), 0o600))
	program, file := filepath.Join(dir, "now"), filepath.Join(dir, "clock")
	buildStepped(t, dir, map[string]string{program: main})
	setClock(t, file, 1000*time.Hour)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), clockVariable+"="+file)
	out, err := cmd.Output()
	check(t, err)
	var sec int64
	check(t, json.Unmarshal(out, &sec))
	if ahead := time.Until(time.Unix(sec, 0)); ahead < 999*time.Hour || ahead > 1001*time.Hour {
		t.Errorf("its clock is %v ahead", ahead)
	}
}
