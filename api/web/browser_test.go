package web_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	downloads "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/shannon-control/scu/porttest"
)

// The suite drives the real program with a real browser, Debian's chromium. Screenshots are
// kept by go test -artifacts.

// patience bounds a wait for the page, on however slow a machine. All waits are for something that
// the page shows.
const patience = 5 * time.Minute

var program string // scu, built once

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "scu-web")
	if err == nil {
		program = filepath.Join(dir, "scu")
		var out []byte
		if out, err = exec.Command("go", "build", "-o", program, "../../cmd/scu").CombinedOutput(); err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the program can't be built:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// server is a scu serve of a test's own.
type server struct {
	t    *testing.T
	dir  string
	env  []string
	url  string
	proc *exec.Cmd
}

func serve(t *testing.T, env ...string) *server {
	s := &server{t: t, dir: t.TempDir(), env: append(env, "SCU_LOG_LEVEL=error")}
	l, err := porttest.Web.Listen()
	must(t, err)
	must(t, l.Close())
	s.start(l.Addr().String())
	t.Cleanup(s.stop)
	return s
}

func (s *server) start(listen string) {
	s.t.Helper()
	data, err := filepath.Abs("../../examples")
	must(s.t, err)
	s.proc = exec.Command(program, "serve", "--json", "--data", filepath.Join(s.dir, "data"), "--listen", listen)
	s.proc.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "SCU_DATA_DIRS=" + data}, s.env...)
	s.proc.Stderr = s.t.Output()
	out, err := s.proc.StdoutPipe()
	must(s.t, err)
	must(s.t, s.proc.Start())
	line, err := bufio.NewReader(out).ReadBytes('\n')
	var ready struct {
		URL string `json:"api_url"`
	}
	if err == nil {
		err = json.Unmarshal(line, &ready)
	}
	must(s.t, err)
	s.url = ready.URL
}

// stop drains it.
func (s *server) stop() {
	if s.proc != nil {
		s.proc.Process.Signal(syscall.SIGTERM)
		s.proc.Wait()
		s.proc = nil
	}
}

// again starts it at the address that it had.
func (s *server) again() {
	s.t.Helper()
	s.start(strings.TrimPrefix(s.url, "http://"))
}

func (s *server) restart() {
	s.t.Helper()
	s.stop()
	s.again()
}

// ask calls the API as a program does.
func (s *server) ask(method, path, body string, headers ...string) []byte {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	must(s.t, err)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	must(s.t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	must(s.t, err)
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s %s: %d %s", method, path, resp.StatusCode, b)
	}
	return b
}

// keeper is a job of some seconds on the example text.
const keeper = `{"epochs": %d, "learning_rate": 1e-3, "block_size": 256, "batch_size": 2, "val_fraction": 0.15, "control": {"target_s": %g}}`

// submit submits a job and returns its id.
func (s *server) submit(name string, epochs int, target float64, headers ...string) string {
	s.t.Helper()
	var out struct {
		ID string `json:"job_id"`
	}
	must(s.t, json.Unmarshal(s.ask("POST", "/jobs/submit", fmt.Sprintf(
		`{"base_model": "bookworm-2m", "train_data_path": "text/keeper.txt", "name": %q, "config_overrides": `+keeper+`}`, name, epochs, target), headers...), &out))
	return out.ID
}

// browser is a window of Chromium on a server. What its console says at the level of an error,
// a breach of the Content-Security-Policy, an uncaught exception and a request to anywhere
// else fail the test at its end; allow excepts refusals that a test brings about.
type browser struct {
	t   *testing.T
	ctx context.Context
	s   *server

	mu      sync.Mutex
	found   []string
	allowed []string
}

func open(t *testing.T, s *server, width, height int) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		path, err = exec.LookPath("chromium-browser") // as Fedora calls it
	}
	if err != nil {
		t.Fatal("the dashboard's tests need Chromium; make setup installs it: ", err)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path),
		chromedp.Flag("headless", "new"), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("hide-scrollbars", true), chromedp.WindowSize(width, height), chromedp.WSURLReadTimeout(patience))
	alloc, closeAll := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, closeTab := chromedp.NewContext(alloc)
	b := &browser{t: t, ctx: ctx, s: s, allowed: []string{"/health"}} // a busy machine is said not to be well
	chromedp.ListenTarget(ctx, b.hear)
	t.Cleanup(func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, f := range b.found {
			if !slices.ContainsFunc(b.allowed, func(a string) bool { return strings.Contains(f, a) }) {
				t.Error("the browser says:", f)
			}
		}
	})
	t.Cleanup(func() { closeTab(); closeAll() })
	b.do(log.Enable(), network.Enable(), chromedp.EmulateViewport(int64(width), int64(height)))
	return b
}

func (b *browser) hear(ev any) {
	var said string
	switch e := ev.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Source == log.SourceSecurity {
			said = fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeAssert {
			said = "console.error"
			for _, a := range e.Args {
				said += " " + string(a.Value) + a.Description
			}
		}
	case *runtime.EventExceptionThrown:
		said = e.ExceptionDetails.Error()
	case *network.EventRequestWillBeSent:
		if !strings.HasPrefix(e.Request.URL, b.s.url+"/") && e.Request.URL != "about:blank" {
			said = "a request to " + e.Request.URL
		}
	case *page.EventJavascriptDialogOpening: // the tests agree to what they ask for
		go chromedp.Run(b.ctx, page.HandleJavaScriptDialog(true))
	}
	if said != "" {
		b.mu.Lock()
		b.found = append(b.found, said)
		b.mu.Unlock()
	}
}

// allow excepts what the console says of an answer that the test wants.
func (b *browser) allow(text string) {
	b.mu.Lock()
	b.allowed = append(b.allowed, text)
	b.mu.Unlock()
}

func (b *browser) do(actions ...chromedp.Action) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if b.ctx.Err() == nil && chromedp.FromContext(b.ctx).Browser == nil {
		ctx = b.ctx // the first call starts the browser, which lives as long as its context
	}
	if err := chromedp.Run(ctx, actions...); err != nil {
		var text string
		chromedp.Run(b.ctx, chromedp.Evaluate("document.body.innerText", &text))
		b.shot("failed")
		b.t.Fatalf("%v; the page says:\n%.2000s", err, text)
	}
}

func (b *browser) visit(fragment string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.s.url + "/" + fragment))
}

// until waits until an expression is true of the page.
func (b *browser) until(expression string) {
	b.t.Helper()
	b.do(chromedp.Poll(expression, nil, chromedp.WithPollingMutation(), chromedp.WithPollingTimeout(patience)))
}

// says waits for a text within an element.
func (b *browser) says(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("[...document.querySelectorAll(%q)].some((e) => e.innerText.includes(%q))", selector, text))
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.do(chromedp.Click(selector, chromedp.ByQuery))
}

// clickText clicks the first button or link of a text.
func (b *browser) clickText(text string) {
	b.t.Helper()
	find := fmt.Sprintf("[...document.querySelectorAll('button, a')].find((e) => e.innerText.trim() === %q && !e.disabled)", text)
	b.until("!!" + find)
	b.eval(find+".click()", nil)
}

// eval returns what an expression is, or what its promise comes to.
func (b *browser) eval(expression string, v any) {
	b.t.Helper()
	b.do(chromedp.Evaluate(expression, v, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
}

// shot keeps a picture of the whole page.
func (b *browser) shot(name string) {
	b.t.Helper()
	var png []byte
	if err := chromedp.Run(b.ctx, chromedp.FullScreenshot(&png, 100)); err != nil {
		b.t.Log("no screenshot:", err)
		return
	}
	must(b.t, os.WriteFile(filepath.Join(b.t.ArtifactDir(), name+".png"), png, 0o644))
}

// as gives the page the system's colours, "light" or "dark".
func (b *browser) as(scheme string) {
	b.t.Helper()
	b.do(emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
}

func (b *browser) size(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

// saves lets the page save files; what it returns waits for the next one and gives its bytes.
func (b *browser) saves() func() []byte {
	b.t.Helper()
	dir, saved := b.t.TempDir(), make(chan string, 10)
	chromedp.ListenTarget(b.ctx, func(ev any) {
		if e, ok := ev.(*downloads.EventDownloadProgress); ok && e.State == downloads.DownloadProgressStateCompleted {
			saved <- e.GUID
		}
	})
	b.do(downloads.SetDownloadBehavior(downloads.SetDownloadBehaviorBehaviorAllowAndName).WithDownloadPath(dir).WithEventsEnabled(true))
	return func() []byte {
		b.t.Helper()
		select {
		case name := <-saved:
			data, err := os.ReadFile(filepath.Join(dir, name))
			must(b.t, err)
			return data
		case <-time.After(patience):
			b.t.Fatal("nothing is saved")
			return nil
		}
	}
}

// fits checks that nothing makes the page scroll sideways, once the charts have its width.
func (b *browser) fits(what string) {
	b.t.Helper()
	wide := "document.documentElement.scrollWidth > document.documentElement.clientWidth"
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Run(ctx, chromedp.Poll("!("+wide+")", nil, chromedp.WithPollingInterval(20*time.Millisecond), chromedp.WithPollingTimeout(patience))); err != nil {
		var widest string
		b.eval(`[...document.querySelectorAll("main *")].filter((e) => e.getBoundingClientRect().right > innerWidth).map((e) => e.tagName + "." + e.className).slice(0, 8).join(" ")`, &widest)
		b.t.Errorf("%s: the page is wider than its window: %s", what, widest)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// set types into the field of a name.
func (b *browser) set(name, text string) {
	b.t.Helper()
	field := fmt.Sprintf("input[name=%q]", name)
	b.do(focusAndType(field, text+"\t"))
}

func focusAndType(selector, text string) chromedp.Tasks {
	return chromedp.Tasks{chromedp.WaitVisible(selector, chromedp.ByQuery), chromedp.Focus(selector, chromedp.ByQuery), chromedp.Evaluate("document.activeElement.select()", nil), chromedp.KeyEvent(text)}
}

func reload() chromedp.Action { return chromedp.Reload() }
