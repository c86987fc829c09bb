package jinja

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What a template takes is bounded: each of these would fill the memory or never end.
func TestHostileTemplates(t *testing.T) {
	deep := strings.Repeat("[", 1<<10) + strings.Repeat("]", 1<<10)
	for name, source := range map[string]string{
		"endless range":       `{% for i in range(10 ** 9) %}{% endfor %}`,
		"range of far":        `{% for i in range(-9223372036854775807, 9223372036854775807) %}{% endfor %}`,
		"endless output":      `{% for i in range(100000) %}{{ 'x' * 100000 }}{% endfor %}`,
		"endless loops":       `{% for i in range(10000) %}{% for j in range(10000) %}{{ '' }}{% endfor %}{% endfor %}`,
		"loops in filters":    `{% for i in range(100000) %}{{ range(100000)|sum }}{% endfor %}`,
		"sorting":             `{% for i in range(100000) %}{{ range(100000)|sort }}{% endfor %}`,
		"endless recursion":   `{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}`,
		"bushy recursion":     `{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}`,
		"recursive loop":      `{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}`,
		"caller":              `{% macro f() %}{% call f() %}{{ caller() }}{% endcall %}{% endmacro %}{{ f() }}`,
		"brackets":            `{{ ` + strings.Repeat("(", 1<<18) + "1" + strings.Repeat(")", 1<<18) + ` }}`,
		"lists":               `{{ ` + deep + ` }}`,
		"elses":               `{{ ` + strings.Repeat("1 if 0 else ", 1<<14) + "1 }}",
		"nots":                `{{ ` + strings.Repeat("not ", 1<<14) + "1 }}",
		"signs":               `{{ ` + strings.Repeat("- ", 1<<14) + "1 }}",
		"sums":                `{{ ` + strings.Repeat("1 + ", 1<<16) + "1 }}",
		"attributes":          `{{ a` + strings.Repeat(".a", 1<<16) + " }}",
		"filters":             `{{ 'a'` + strings.Repeat("|upper", 1<<14) + " }}",
		"ifs":                 strings.Repeat(`{% if 1 %}`, 1<<14) + strings.Repeat(`{% endif %}`, 1<<14),
		"huge":                strings.Repeat(" ", maxSource+1),
		"repeated text":       `{{ 'x' * 10000000000 }}`,
		"repeated list":       `{{ [1] * 10000000000 }}`,
		"repeated empty":      `{{ '' * 10000000000 }}{{ [] * 10000000000 }}{{ 1 / 0 }}`,
		"overflow":            `{{ ('xx' * 9223372036854775807) }}`,
		"doubled text":        `{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}`,
		"doubled list":        `{% set ns = namespace(s=[1]) %}{% for i in range(64) %}{% set ns.s = ns.s + ns.s %}{% endfor %}`,
		"nested value":        `{% set ns = namespace(s=[1]) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s }}`,
		"nested json":         `{% set ns = namespace(s=[1]) %}{% for i in range(100000) %}{% set ns.s = [ns.s] %}{% endfor %}{{ ns.s|tojson }}`,
		"nested equals":       `{% set ns = namespace(s=[1], t=[1]) %}{% for i in range(50000) %}{% set ns.s = [ns.s] %}{% set ns.t = [ns.t] %}{% endfor %}{{ ns.s == ns.t }}`,
		"nested key":          `{% set ns = namespace(s=(1,)) %}{% for i in range(50000) %}{% set ns.s = (ns.s,) %}{% endfor %}{{ {ns.s: 1} }}`,
		"bushy value":         `{% set ns = namespace(s=[1]) %}{% for i in range(64) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s }}`,
		"bushy json":          `{% set ns = namespace(s=[1]) %}{% for i in range(64) %}{% set ns.s = [ns.s, ns.s] %}{% endfor %}{{ ns.s|tojson }}`,
		"bushy equals":        `{% set ns = namespace(s=[1], t=[1]) %}{% for i in range(64) %}{% set ns.s = [ns.s, ns.s] %}{% set ns.t = [ns.t, ns.t] %}{% endfor %}{{ ns.s == ns.t }}`,
		"bushy key":           `{% set ns = namespace(s=(1,)) %}{% for i in range(64) %}{% set ns.s = (ns.s, ns.s) %}{% endfor %}{{ {ns.s: 1} }}`,
		"namespace of itself": `{% set ns = namespace() %}{% set ns.me = ns %}{{ ns }}`,
		"center":              `{{ 'a'.center(10000000000) }}`,
		"indent":              `{{ 'a\na'|indent(10000000000) }}`,
		"replace":             `{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}`,
		"join":                `{{ ('b' * 1000000)|join('c' * 1000000) }}`,
		"format":              `{{ '%10000000000d' % 1 }}`,
		"batch":               `{{ [1]|batch(10000000000, 'x')|list }}`,
		"slices":              `{{ [1]|slice(10000000000)|list }}`,
		"power":               `{{ 2 ** 10000000000 }}{{ (-1) ** 9000000000000000001 }}`,
		"maps of maps":        `{% set ns = namespace(s=[1]) %}{% for i in range(100000) %}{% set ns.s = ns.s|map('string') %}{% endfor %}{{ ns.s|list }}`,
		"characters":          `{% set s = 'é' * 100000 %}{% for i in range(100000) %}{{ s[99999] }}{% endfor %}`,
		"splits":              `{% set s = 'a ' * 100000 %}{% for i in range(100000) %}{% set x = s.split() %}{% endfor %}`,
		"searching":           `{% set s = 'a' * 1000000 %}{% for i in range(100000) %}{% set x = 'b' in s %}{% endfor %}`,
		"sets":                `{% for i in range(100000) %}{% set x %}{{ 'x' * 100000 }}{% endset %}{% endfor %}`,
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			template, err := Parse(source)
			var got Result
			if err == nil {
				got, err = template.Render(context.Background(), nil, Limits{Steps: 1_000_000, Memory: 64 << 20, Output: 16 << 20})
			}
			if err == nil {
				t.Errorf("rendered %.100q", got.Text)
			}
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// A template ends with its context.
func TestCancel(t *testing.T) {
	template, err := Parse(`{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}`)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := template.Render(ctx, nil, Limits{Steps: 1 << 62, Memory: 1 << 62, Output: 1 << 30}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// An error says where in the template it arose.
func TestErrorsHavePlaces(t *testing.T) {
	for _, c := range []struct {
		source       string
		line, column int
		says         string
		raised       bool
	}{
		{"a\n{{ nothing.at }}", 2, 11, `"nothing" is undefined`, false},
		{"é {{ 'a' + 1 }}", 1, 10, "str and int can't be added", false},
		{"{% if 1 %}\n\n", 2, 1, "{% endif %} is missing", false},
		{"\n  {% frob %}", 2, 6, `the tag "frob" is not known`, false},
		{"{{ 'a'|frob }}", 1, 8, `no filter is named "frob"`, false},
		{"{{ 'a }}", 1, 4, "the string has no end", false},
		{"{{ raise_exception('so') }}", 1, 19, "so", true},
		{"{% macro m(x) %}\n{{ x + 1 }}{% endmacro %}{{ m() }}", 2, 6, `the parameter "x" was not given`, false},
		{"{{ messages[0].name + 'x' }}", 1, 21, `a dict has no attribute "name"`, false},
	} {
		message := &Dict{}
		message.Set("role", "user")
		_, err := render(c.source, map[string]any{"messages": List{message}})
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%q: error %v", c.source, err)
		} else if e.Line != c.line || e.Column != c.column || !strings.Contains(e.Message, c.says) || e.Raised != c.raised {
			t.Errorf("%q: %v (raised: %v)", c.source, e, e.Raised)
		}
	}
}

func TestLimitsAreErrors(t *testing.T) {
	for name, l := range map[string]Limits{
		"steps":  {Steps: 100, Memory: 1 << 20, Output: 1 << 20},
		"memory": {Steps: 1 << 20, Memory: 100, Output: 1 << 20},
		"output": {Steps: 1 << 20, Memory: 1 << 20, Output: 100},
	} {
		template, err := Parse(`{% for i in range(1000) %}{{ i }}{% endfor %}`)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := template.Render(context.Background(), nil, l); !errors.Is(err, ErrLimit) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func FuzzRender(f *testing.F) {
	names, err := filepath.Glob("testdata/chat/*.jinja")
	if err != nil || len(names) == 0 {
		f.Fatal(err)
	}
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(source))
	}
	lines, err := os.ReadFile("testdata/expressions.txt")
	if err != nil {
		f.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(lines), "\n")
	for line := range strings.Lines(rest) {
		f.Add(strings.ReplaceAll(line, "⏎", "\n"))
	}
	f.Fuzz(func(t *testing.T, source string) {
		v := variables(t, []byte(head))
		template, err := Parse(source)
		if err != nil {
			return
		}
		start := time.Now()
		template.Render(context.Background(), v, Limits{Steps: 100_000, Memory: 16 << 20, Output: 1 << 20})
		if took := time.Since(start); took > 5*time.Second {
			t.Fatalf("took %v: %q", took, source)
		}
	})
}

func FuzzFromJSON(f *testing.F) {
	f.Add([]byte(`{"a": [1, 2.5, null, true, "x"], "b": {"c": 123456789012345678901234567890}}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := FromJSON(raw)
		if err == nil {
			render(`{{ v }}{{ v|tojson }}`, map[string]any{"v": v})
		}
	})
}
