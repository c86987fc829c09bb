package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/base"
)

// children are other processes that this program is, by their first argument.
var children = map[string]func(){}

// TestMain is the process of a trial too.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "try" {
		if err := Main(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && children[os.Args[1]] != nil {
		children[os.Args[1]]()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T) *Program {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := New(path, path, "try")
	p.Time, p.Memory = 5*time.Second, 1<<30
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// edit changes a JSON file of a model's folder.
func edit(t *testing.T, path string, change func(map[string]any)) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	var m map[string]any
	must(t, json.Unmarshal(b, &m))
	change(m)
	b, err = json.Marshal(m)
	must(t, err)
	must(t, os.WriteFile(path, b, 0o600))
}

// row is a line of data, and endless a template that it never gets through.
const (
	row     = `{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"hello"}]}` + "\n"
	endless = "{% for a in range(99999) %}{% for b in range(99999) %}{% for m in messages %}{{ m.content | upper }}{% endfor %}{% endfor %}{% endfor %}"
)

// A model that never ends, or takes any memory, is refused with the file that does it, in
// bounded time; what is right or merely wrong gets through.
func TestTry(t *testing.T) {
	template := func(text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "chat_template.jinja"), []byte(text), 0o600))
		}
	}
	tokenizer := func(change func(map[string]any)) func(*testing.T, string) {
		return func(t *testing.T, dir string) { edit(t, filepath.Join(dir, "tokenizer.json"), change) }
	}
	for _, c := range []struct {
		name   string
		change func(*testing.T, string)
		data   string
		says   string // with the bound for TIME; "": it gets through
	}{
		{name: "a good model", data: row},
		{name: "a broken tokenizer", change: func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte("{"), 0o600))
		}, data: row},
		{name: "a pattern that backtracks for ever", change: tokenizer(func(m map[string]any) {
			m["pre_tokenizer"] = map[string]any{"type": "Split", "pattern": map[string]any{"Regex": "(?<!z)(a+)+(?=b)"}, "behavior": "Isolated", "invert": false}
		}), data: strings.Repeat("a", 200_000) + "\n", says: "tokenizer.json and chat template on data.txt took more than the TIME"},
		{name: "a normalizer that doubles thirty times", change: tokenizer(func(m map[string]any) {
			var all []any
			for range 30 {
				all = append(all, map[string]any{"type": "Replace", "pattern": map[string]any{"String": "a"}, "content": "aa"})
			}
			m["normalizer"] = map[string]any{"type": "Sequence", "normalizers": all}
		}), data: "a\n", says: "tokenizer.json and chat template on data.txt took more than"},
		{name: "a template that makes ten billion characters", change: template("{{ 'x' * 10000000000 }}"), data: row},
		{name: "a template that doubles a string", change: template(
			"{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x | length }}"), data: row, says: ""},
		{name: "a template of nested loops", change: template(endless), data: strings.Repeat(row, 50), says: "tokenizer.json and chat template on data.jsonl took more than the TIME"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, err := models.Extract(t.TempDir())
			must(t, err)
			if c.change != nil {
				c.change(t, dir)
			}
			name := "data.jsonl"
			if !strings.HasPrefix(c.data, "{") {
				name = "data.txt"
			}
			path := filepath.Join(t.TempDir(), name)
			must(t, os.WriteFile(path, []byte(c.data), 0o600))
			cfg := scu.DefaultConfig()
			p := program(t)
			if c.says == "" {
				p.Time = time.Minute // however slow the machine is
			}
			trial := base.Trial{Dir: dir, Data: &base.TrialData{Path: path, Name: name, Config: cfg}}
			err = p.Try(t.Context(), trial)
			if c.says == "" {
				must(t, err)
				return
			}
			says := func() string { return strings.ReplaceAll(c.says, "TIME", p.Time.String()) }
			for p.Time < time.Minute && err != nil && !strings.Contains(err.Error(), says()) { // a slow machine doesn't get as far
				p.Time *= 2
				err = p.Try(t.Context(), trial)
			}
			if err == nil {
				t.Fatal("it got through")
			}
			if e := scu.AsError(err); e.Code != scu.CodeInvalid || e.Field != "base_model" || !strings.Contains(e.Message, says()) {
				t.Errorf("got %v, want %q", err, says())
			}
		})
	}
}

// A client that leaves ends the trial.
func TestTryEndsWithItsContext(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if err := program(t).Try(ctx, base.Trial{Dir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// What isn't the program is a fault of ours, not of the model.
func TestTryWithoutTheProgram(t *testing.T) {
	p := program(t)
	p.Path = filepath.Join(t.TempDir(), "gone")
	if err := p.Try(t.Context(), base.Trial{Dir: t.TempDir()}); scu.CodeOf(err) != scu.CodeInternal {
		t.Errorf("got %v", err)
	}
}

// What a trial costs a submission of a model that wasn't seen before: the process, and the
// model read in it.
func BenchmarkTry(b *testing.B) {
	path, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	dir, err := models.Extract(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	p := New(path, path, "try")
	b.Run("of a process alone", func(b *testing.B) {
		for b.Loop() {
			if err := p.Try(b.Context(), base.Trial{Dir: filepath.Join(dir, "none")}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("of the built-in model", func(b *testing.B) {
		for b.Loop() {
			if err := p.Try(b.Context(), base.Trial{Dir: dir}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("of the same without a process", func(b *testing.B) {
		for b.Loop() {
			base.Trial{Dir: dir}.Run(b.Context(), func(string) {})
		}
	})
}
