//go:build unix

package examples_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

// Every example runs as its README says, against one server, and ends with the number
// that it promises.
func TestExamples(t *testing.T) {
	bin := build(t)
	url := serve(t, bin)
	for _, c := range []struct {
		name string
		env  []string
		// number is a pattern whose group must lie from low to high.
		number    string
		low, high float64
	}{
		{"text", []string{"EXTRA=--set epochs=4"}, `([0-9]+\.[0-9]+) after`, 2, 4.4},
		{"chat", []string{"EXTRA=--set epochs=15"}, `([0-9]+\.[0-9]+) after`, 2, 4.6},
		{"continue", nil, `([0-9]+\.[0-9]+) before`, 2, 3.5},
		{"http", nil, `adapter: ([0-9]+) bytes`, 100_000, 10_000_000},
		{"openai", nil, `adapter: ([0-9]+) bytes`, 100_000, 10_000_000},
		{"followers", []string{"STEPS=20"}, `(?s)"step": 20, .*"ce": ([0-9.]+),.*"end": "completed"`, 2, 4.5},
		{"python", nil, `ce [0-9.]+ at step 1, ([0-9.]+) at step [0-9]+`, 2, 4.2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(filepath.Join(c.name, "run.sh"))
			cmd.Env = append(os.Environ(), "SCU="+bin, "SCU_API_URL="+url, "OUT="+t.TempDir(), "PYTHON="+python(t))
			cmd.Env = append(cmd.Env, c.env...)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
			said := regexp.MustCompile(c.number).FindSubmatch(out)
			if said == nil {
				t.Fatalf("its number, %s, isn't there:\n%s", c.number, out)
			}
			if n, err := strconv.ParseFloat(string(said[1]), 64); err != nil || n < c.low || n > c.high {
				t.Errorf("its number is %s, not from %v to %v", said[1], c.low, c.high)
			}
		})
	}
}

// A follower whose connection is cut again and again, and that is once told to wait, tells
// every step of a job once, in order, and how the job ended.
func TestFollowerOverCuts(t *testing.T) {
	bin := build(t)
	direct, err := url.Parse(serve(t, bin))
	if err != nil {
		t.Fatal(err)
	}
	cuts := 0
	proxy := httputil.NewSingleHostReverseProxy(direct)
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	proxy.FlushInterval = -1
	proxy.ModifyResponse = func(r *http.Response) error {
		if r.Header.Get("Content-Type") == "text/event-stream" && cuts < 4 {
			cuts++
			r.Body = &cut{r.Body, 8 << 10}
			if cuts == 2 {
				r.StatusCode, r.Status = http.StatusTooManyRequests, "429 Too Many Requests"
			}
		}
		return nil
	}
	between := httptest.NewServer(proxy)
	defer between.Close()
	cmd := exec.Command("followers/run.sh")
	cmd.Env = append(os.Environ(), "SCU="+bin, "SCU_API_URL="+between.URL, "PYTHON="+python(t), "STEPS=60")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var steps []int
	lines := json.NewDecoder(bytes.NewReader(out))
	for lines.More() {
		var line struct {
			Step   int
			Run    string
			End    string
			Config map[string]any
		}
		if err := lines.Decode(&line); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		switch {
		case line.Run != "" && (line.Run != "keeper" || line.Config["steps"] != 60. || line.Config["lora.r"] != 16.):
			t.Errorf("the run begins as %+v", line)
		case line.Step > 0:
			steps = append(steps, line.Step)
		case line.End != "" && line.End != "completed":
			t.Errorf("it ends as %+v", line)
		}
	}
	for i, step := range steps {
		if step != i+1 {
			t.Fatalf("the steps are %v", steps)
		}
	}
	if len(steps) != 60 || cuts != 4 {
		t.Errorf("%d steps over %d cuts", len(steps), cuts)
	}
}

// cut ends an answer in the middle, after so many bytes.
type cut struct {
	io.ReadCloser
	left int
}

func (c *cut) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, errors.New("cut")
	}
	n, err := c.ReadCloser.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// The Python client trains on several sources with their shares.
func TestPythonMixture(t *testing.T) {
	cmd := exec.Command(python(t), "python/mixture.py")
	cmd.Env = append(os.Environ(), "SCU_API_URL="+serve(t, build(t)), "STEPS=20")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := regexp.MustCompile(`^keeper.txt: share 3\nchat.jsonl: share 1\nvalidation loss ([0-9.]+) before, ([0-9.]+) after\n$`)
	said := want.FindSubmatch(out)
	if said == nil {
		t.Fatalf("it says:\n%s", out)
	}
	before, _ := strconv.ParseFloat(string(said[1]), 64)
	if after, err := strconv.ParseFloat(string(said[2]), 64); err != nil || after >= before {
		t.Errorf("it learns nothing: %s", said[0])
	}
}

// Scripts that were written for the client of the original design work against a server
// that asks for a key: submission with wait, status, list, metrics, download, cancel.
func TestOriginalClient(t *testing.T) {
	t.Setenv("SCU_API_KEY", "a-key-of-this-test")
	url := serve(t, build(t))
	cmd := exec.Command(python(t), "../scripts/interop/seed_client.py", url, "bookworm-2m", "text/keeper.txt", t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// build makes the program and returns its path.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "scu")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/scu").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return bin
}

// serve starts a server and returns its address.
func serve(t *testing.T, bin string) string {
	t.Helper()
	cmd := exec.Command(bin, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--max-concurrent-jobs", "2", "--json")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		cmd.Wait()
	})
	var ready struct {
		URL string `json:"api_url"`
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	if err != nil {
		t.Fatalf("the server didn't get ready: %v: %s", err, line)
	}
	return ready.URL
}

// python finds an interpreter that has requests, which scripts/setup-test.sh installs.
func python(t *testing.T) string {
	t.Helper()
	for _, p := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(p, "-c", "import requests").Run() == nil {
			return p
		}
	}
	t.Fatal("this test needs Python 3 with requests; scripts/setup-test.sh installs it")
	return ""
}
