package trial

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/base"
)

// escapes is what a process within its bounds tells of how far it gets.
type escapes struct {
	Environment                        []string
	Listen, Dial, Unix, Start, TooLong string // errors
	OtherABI, Take                     string
	Written                            int64
}

// child is what this program is under these arguments: for linux alone.
func init() { children["begin"], children["escape"], children["diverge"] = begin, tryToEscape, diverge }

// tryToEscape is the process of TestBounds.
func tryToEscape() {
	dir := os.Args[2]
	if err := bound(1<<30, 1<<20); err != nil {
		panic(err)
	}
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	var e escapes
	e.Environment = os.Environ()
	_, err := net.Listen("tcp", "127.0.0.1:0")
	e.Listen = text(err)
	_, err = net.Dial("udp", "127.0.0.1:53")
	e.Dial = text(err)
	_, err = net.Dial("unix", filepath.Join(dir, "socket"))
	e.Unix = text(err)
	e.Start = text(exec.Command("/bin/true").Run())
	_, _, no := unix.Syscall(otherABI|unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0)
	e.OtherABI = no.Error()
	_, _, no = unix.Syscall(unix.SYS_PIDFD_GETFD, ^uintptr(0), 0, 0)
	e.Take = no.Error()
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		panic(err)
	}
	for ; err == nil && e.Written < 2<<20; e.Written += 64 << 10 {
		_, err = f.Write(make([]byte, 64<<10))
	}
	e.TooLong = text(err)
	if err := json.NewEncoder(os.Stdout).Encode(e); err != nil {
		panic(err)
	}
}

// A trial has no secret of its parent's, reaches nobody, starts nothing and writes no file
// without end.
func TestBounds(t *testing.T) {
	t.Setenv("SCU_API_KEY", "secret")
	path, err := os.Executable()
	must(t, err)
	c := exec.Command(path, "escape", t.TempDir())
	c.Env = []string{} // as Try has it
	out, err := c.Output()
	must(t, err)
	var e escapes
	must(t, json.Unmarshal(out, &e))
	for what, got := range map[string]string{"listen": e.Listen, "dial": e.Dial, "unix": e.Unix, "start": e.Start, "x32": e.OtherABI, "take a socket": e.Take} {
		if !strings.Contains(got, unix.EPERM.Error()) {
			t.Errorf("%s: %q", what, got)
		}
	}
	if !strings.Contains(e.TooLong, unix.EFBIG.Error()) || e.Written > 1<<20+64<<10 || len(e.Environment) != 0 {
		t.Errorf("%+v", e)
	}
}

// diverge bounds a process in which one thread has a filter of its own.
func diverge() {
	allow := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}
	program := unix.SockFprog{Len: 1, Filter: &allow}
	own := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
		if err == nil {
			err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
		}
		own <- err
		select {} // the thread stays
	}()
	if err := <-own; err != nil {
		panic(err)
	}
	fmt.Println(bound(1<<30, 1<<20))
}

// A trial doesn't begin while a thread of it could do what is forbidden.
func TestBoundsOfEachThread(t *testing.T) {
	path, err := os.Executable()
	must(t, err)
	out, err := exec.Command(path, "diverge").Output()
	must(t, err)
	if !strings.HasPrefix(string(out), "seccomp: thread ") {
		t.Errorf("%s", out)
	}
}

// begin is a process that has a model tried.
func begin() {
	var t base.Trial
	if err := json.NewDecoder(os.Stdin).Decode(&t); err != nil {
		panic(err)
	}
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	p := New(path, path, "try")
	p.Time = time.Hour
	panic(p.Try(context.Background(), t))
}

// A trial doesn't outlive the process that could kill it, kill -9 included.
func TestTrialEndsWithItsParent(t *testing.T) {
	dir, err := models.Extract(t.TempDir())
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(endless), 0o600))
	data := filepath.Join(t.TempDir(), "data.jsonl")
	must(t, os.WriteFile(data, []byte(strings.Repeat(row, 5000)), 0o600))
	input, err := json.Marshal(base.Trial{Dir: dir, Data: &base.TrialData{Path: data, Name: "data.jsonl", Config: scu.DefaultConfig()}})
	must(t, err)
	path, err := os.Executable()
	must(t, err)
	parent := exec.Command(path, "begin")
	parent.Stdin, parent.Stderr = strings.NewReader(string(input)), os.Stderr
	must(t, parent.Start())
	var child string
	for worked := 0; worked < 20; { // hundredths of a second: it is in the middle
		time.Sleep(10 * time.Millisecond)      // nothing tells of another's child, nor of its end
		child = childOf(t, parent.Process.Pid) // the first one may be Go's, which tries what the kernel has
		_, worked = stat(child)
	}
	must(t, parent.Process.Kill())
	parent.Wait()
	for state := "R"; state != "" && state != "Z"; state, _ = stat(child) {
		time.Sleep(10 * time.Millisecond)
	}
}

// childOf returns a child of a process; "" if it has none yet.
func childOf(t *testing.T, pid int) string {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	must(t, err)
	for _, list := range lists {
		if b, err := os.ReadFile(list); err == nil && len(b) > 0 {
			return strings.Fields(string(b))[0]
		}
	}
	return ""
}

// stat returns the state of a process, and the hundredths of a second that it worked; "" if it
// is gone.
func stat(pid string) (state string, worked int) {
	b, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil || pid == "" {
		return "", 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	worked, _ = strconv.Atoi(fields[11])
	return fields[0], worked
}
