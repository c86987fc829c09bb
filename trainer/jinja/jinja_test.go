package jinja

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
}

func fromJSON(t testing.TB, raw []byte) any {
	t.Helper()
	v, err := FromJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// variables are those of a JSON object.
func variables(t testing.TB, raw []byte) map[string]any {
	d := fromJSON(t, raw).(*Dict)
	all := map[string]any{}
	for _, k := range d.Keys() {
		all[k], _ = d.Get(k)
	}
	return all
}

func render(source string, variables map[string]any) (Result, error) {
	t, err := Parse(source)
	if err != nil {
		return Result{}, err
	}
	return t.Render(context.Background(), variables, DefaultLimits)
}

// What Transformers gives, for expressions and statements of all kinds.
func TestExpressionsAsInTransformers(t *testing.T) {
	var expected struct {
		Variables json.RawMessage
		Cases     [][2]*string
	}
	readJSON(t, "testdata/expressions.json", &expected)
	v := variables(t, expected.Variables)
	for _, c := range expected.Cases {
		check(t, *c[0], v, c[1])
	}
}

// check renders source; a nil want is an error.
func check(t *testing.T, source string, variables map[string]any, want *string) {
	t.Helper()
	got, err := render(source, variables)
	switch {
	case want == nil && err == nil:
		t.Errorf("%s\n gives %q\n Jinja2 refuses it", source, got.Text)
	case want != nil && err != nil:
		t.Errorf("%s\n is refused: %v\n want %q", source, err, *want)
	case want != nil && got.Text != *want:
		t.Errorf("%s\n gives %q\n want  %q", source, got.Text, *want)
	}
}

var special = map[string]any{"bos_token": "<s>", "eos_token": "</s>"}

// What Transformers renders, character for character; and what it refuses.
func TestTemplatesAsInTransformers(t *testing.T) {
	var expected map[string]map[string]*struct {
		Text, Prompted string
		Spans          [][2]int
	}
	readJSON(t, "testdata/chat/expected.json", &expected)
	var chats map[string]struct{ Messages, Tools json.RawMessage }
	readJSON(t, "testdata/chat/conversations.json", &chats)
	for family, rows := range expected {
		path := filepath.Join("testdata/chat", family+".jinja")
		if family == "bookworm-2m" {
			path = "../../models/bookworm-2m/chat_template.jinja"
		}
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range rows {
			if strings.HasPrefix(name, "normalized") {
				continue // Transformers changes these before a template sees them, and so does trainer/data
			}
			t.Run(family+"/"+name, func(t *testing.T) {
				v := map[string]any{"messages": fromJSON(t, chats[name].Messages), "tools": nil, "documents": nil, "add_generation_prompt": false}
				if raw := chats[name].Tools; raw != nil {
					v["tools"] = fromJSON(t, raw)
				}
				for k, s := range special {
					v[k] = s
				}
				got, err := render(string(source), v)
				if want == nil {
					if err == nil {
						t.Fatalf("rendered %q, Transformers refuses", got.Text)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if got.Text != want.Text {
					t.Errorf("got\n%q\nwant\n%q", got.Text, want.Text)
				}
				var spans [][2]int
				for _, s := range got.Generated {
					spans = append(spans, [2]int{s.From, s.To})
				}
				if strings.Contains(string(source), "endgeneration") && len(spans)+len(want.Spans) > 0 && !reflect.DeepEqual(spans, want.Spans) {
					t.Errorf("turns at %v, want %v", spans, want.Spans)
				}
				v["add_generation_prompt"] = true
				if got, err := render(string(source), v); err != nil || got.Text != want.Prompted {
					t.Errorf("with the prompt got\n%q, %v\nwant\n%q", got.Text, err, want.Prompted)
				}
			})
		}
	}
}

var differ = flag.String("differ", "", "cases that testdata/differ.py made")

// What testdata/differ.py made at random, if it is asked for.
func TestDiffer(t *testing.T) {
	if *differ == "" {
		t.Skip("no cases; make them with testdata/differ.py")
	}
	f, err := os.Open(*differ)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	lines.Scan()
	v := variables(t, lines.Bytes())
	n := 0
	for lines.Scan() {
		var c [2]*string
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		check(t, *c[0], v, c[1])
		n++
	}
	t.Logf("%d templates", n)
}
