package scu

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write config.schema.json and metrics.schema.json")

// The schema is what config.go's comments, types and defaults and check.go's ranges say.
func TestConfigSchema(t *testing.T) {
	const file = "config.schema.json"
	made := makeSchema(t)
	if *update {
		if err := os.WriteFile(file, made, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(made, configSchema) {
		t.Errorf("%s isn't up to date; run: go test . -run ConfigSchema -update", file)
	}
	for _, f := range ConfigFields() {
		if f.Description == "" {
			t.Errorf("%s has no description", f.Path)
		}
		c := DefaultConfig()
		for _, b := range c.bounds() {
			if b.at == f.Path && (f.Minimum == nil || *f.Minimum > b.lo || f.Maximum == nil || *f.Maximum < b.hi) { // another law may allow more
				t.Errorf("%s has the range %v to %v in check.go, which the schema doesn't", f.Path, b.lo, b.hi)
			}
		}
	}
}

// The schema of live metrics is what metrics.go's comments and types say, and a metric that
// is sent fits it. A field is only ever added; another meaning is another $id.
func TestMetricsSchema(t *testing.T) {
	const file = "metrics.schema.json"
	typ := reflect.TypeFor[Metrics]()
	g := schemaMaker{comments: fieldComments(t, "metrics.go", func(f *ast.Field) string { return f.Comment.Text() }), names: map[string]string{}}
	g.name(typ, "")
	var required []string
	var properties []pair
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		p := []pair{{"type", jsonType(f.Type)}}
		if f.Type == reflect.TypeFor[time.Time]() {
			p = []pair{{"type", "string"}, {"format", "date-time"}}
		}
		if text := g.describe(g.comments["Metrics."+f.Name]); text != "" {
			p = append(p, pair{"description", text})
		}
		properties = append(properties, pair{name, p})
		if rest != "omitempty" {
			required = append(required, name)
		}
	}
	var made bytes.Buffer
	err := json.Indent(&made, encode(t, []pair{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"$id", "urn:scu:metrics:1"}, {"title", "Metrics"},
		{"description", "One optimiser step of a job, as it stands in scu.metrics.<job>.<trainer>."},
		{"type", "object"}, {"required", required}, {"properties", properties}}), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	made.WriteByte('\n')
	if *update {
		if err := os.WriteFile(file, made.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(made.Bytes(), written) {
		t.Errorf("%s isn't up to date; run: go test . -run Schema -update", file)
	}
	schema, err := jsonschema.NewCompiler().Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	sent, err := json.Marshal(Metrics{JobID: "0123456789abcdef", Attempt: 1, Step: 1, Steps: 2, Timestamp: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(value); err != nil {
		t.Error(err)
	}
}

// A Config and the overrides that make it from the defaults are the same thing.
func TestOverrides(t *testing.T) {
	c := DefaultConfig()
	if got := c.Overrides(); len(got) != 0 {
		t.Errorf("the defaults differ from themselves by %v", got)
	}
	steps := 12
	c.Steps, c.LoRA.R, c.LoRA.TargetModules, c.LearningRate = &steps, 4, []string{"q_proj"}, 1e-3
	c.LoRA.RankPattern = map[string]int{"q_proj": 2}
	c.Control = DefaultControl(LawSCU)
	c.Control.Kp = 0.5
	d := DefaultConfig()
	if err := d.Merge(c.Overrides()); err != nil {
		t.Fatal(err)
	}
	if a, b := object(c), object(d); !reflect.DeepEqual(a, b) {
		t.Errorf("%v\n%v", a, b)
	}
}

// makeSchema makes the schema of Config.
func makeSchema(t *testing.T) []byte {
	comments := fieldComments(t, "config.go", func(f *ast.Field) string { return f.Doc.Text() })
	c := DefaultConfig()
	one := 1
	c.Steps, c.GPUID = &one, &one // so that bounds lists them
	ranges := map[string]bound{}
	for _, law := range []string{LawLogPI, LawSCU, LawFixed} {
		c.Control.Law = law
		for _, b := range c.bounds() {
			if old, ok := ranges[b.at]; ok {
				b.lo, b.hi = min(b.lo, old.lo), max(b.hi, old.hi)
			}
			ranges[b.at] = b
		}
	}
	ranges["control.deadband"] = bound{lo: 0, hi: maxDeadband}
	enums := map[string][]string{}
	for _, choice := range c.choices() {
		enums[choice.at] = choice.allowed
	}
	g := schemaMaker{comments, ranges, enums, map[string]string{}}
	g.name(reflect.TypeFor[Config](), "")
	root := g.object(reflect.TypeFor[Config](), reflect.ValueOf(DefaultConfig()), "")
	root = append([]pair{{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "JobConfig"},
		{"description", "Settings of a training job. Every field may be left out or null."}}, root...)
	var b bytes.Buffer
	if err := json.Indent(&b, encode(t, root), "", "  "); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), '\n')
}

// fieldComments are the comments of a file's struct fields, by Type.Field.
func fieldComments(t *testing.T, file string, text func(*ast.Field) string) map[string]string {
	src, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := map[string]string{}
	for _, decl := range src.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		for _, spec := range gen.Specs {
			typ := spec.(*ast.TypeSpec)
			fields, ok := typ.Type.(*ast.StructType)
			if !ok {
				continue
			}
			last := ""
			for _, f := range fields.Fields.List {
				text := strings.Join(strings.Fields(text(f)), " ")
				if text == "" && f.Comment == nil {
					text = last // fields that share a comment stand below one another
				}
				last = text
				for _, name := range f.Names {
					comments[typ.Name.Name+"."+name.Name] = text
				}
			}
		}
	}
	return comments
}

// pair is a member of a JSON object whose order counts.
type pair struct {
	key   string
	value any
}

func encode(t *testing.T, v any) []byte {
	switch v := v.(type) {
	case []pair:
		var parts []string
		for _, p := range v {
			parts = append(parts, fmt.Sprintf("%s:%s", encode(t, p.key), encode(t, p.value)))
		}
		return []byte("{" + strings.Join(parts, ",") + "}")
	default:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		return bytes.TrimSpace(b.Bytes())
	}
}

type schemaMaker struct {
	comments map[string]string
	ranges   map[string]bound
	enums    map[string][]string
	names    map[string]string // Go's names of the fields, to those of JSON
}

// name collects the names of a struct's fields.
func (g *schemaMaker) name(t reflect.Type, path string) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "" {
			continue
		}
		g.names[f.Name] = path + tag
		if f.Type.Kind() == reflect.Struct {
			g.name(f.Type, path+tag+".")
		}
	}
}

var goName = regexp.MustCompile(`\b[A-Z][A-Za-z0-9]*\b`)

// describe is a field's comment with the names that users know.
func (g *schemaMaker) describe(comment string) string {
	return goName.ReplaceAllStringFunc(comment, func(word string) string {
		if known, ok := g.names[word]; ok {
			return known
		}
		return word
	})
}

func (g *schemaMaker) object(t reflect.Type, def reflect.Value, path string) []pair {
	var order []string
	var properties []pair
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		at := path + name
		if name == "" || refused[at] != "" {
			continue
		}
		order = append(order, name)
		var p []pair
		if f.Type.Kind() == reflect.Struct {
			p = g.object(f.Type, def.Field(i), at+".")
		} else {
			p = []pair{{"type", []string{jsonType(f.Type), "null"}}}
			if e := g.enums[at]; e != nil {
				p = append(p, pair{"enum", e})
			}
			if r, ok := g.ranges[at]; ok {
				p = append(p, pair{"minimum", r.lo}, pair{"maximum", r.hi})
			}
			switch v := def.Field(i); {
			case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.String:
				p = append(p, pair{"items", []pair{{"type", "string"}}}, pair{"default", v.Interface()})
			case f.Type.Kind() == reflect.Pointer && v.IsNil(), f.Type.Kind() == reflect.Slice && v.IsNil():
			default:
				p = append(p, pair{"default", v.Interface()})
			}
			p = append(p, pair{"description", g.describe(g.comments[t.Name()+"."+f.Name])})
		}
		properties = append(properties, pair{name, p})
	}
	return []pair{{"type", []string{"object", "null"}}, {"additionalProperties", false}, {"x-order", order}, {"properties", properties}}
}

func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return jsonType(t.Elem())
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Float64:
		return "number"
	case reflect.Int, reflect.Int64:
		return "integer"
	case reflect.Slice:
		return "array"
	}
	return "object"
}
