package api

import (
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/web"
	"github.com/shannon-control/scu/telemetry"
)

// docsPage shows the OpenAPI document as one page without scripts: it works
// offline, where huma's own page loads a viewer from the Internet.
//
//go:embed docs.html
var docsPage string

// docsPolicy allows the page its inline style and nothing else.
const docsPolicy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

// operation is a route on the page.
type operation struct {
	Method, Path string
	*huma.Operation
}

// pages adds the routes that are no operations: the document, the page that shows
// it, where a browser begins, and Prometheus's.
func (s *Server) pages(e *echo.Echo) error {
	s.completeDocument()
	doc := s.huma.OpenAPI()
	spec, err := specification(doc)
	if err != nil {
		return fmt.Errorf("the OpenAPI document: %w", err)
	}
	page, err := renderDocs(doc)
	if err != nil {
		return fmt.Errorf("the docs page: %w", err)
	}
	e.GET("/openapi.json", echo.WrapHandler(static("application/json", "", spec)))
	e.GET("/docs", echo.WrapHandler(static("text/html; charset=utf-8", docsPolicy, page)))
	dashboard, err := web.Handler()
	if err != nil {
		return fmt.Errorf("the dashboard: %w", err)
	}
	e.GET("/", echo.WrapHandler(dashboard))
	e.GET(web.Assets+"*", echo.WrapHandler(dashboard))
	e.GET("/metrics", echo.WrapHandler(telemetry.Metrics(s.monitor.registry)))
	e.Any("/debug/pprof/*", echo.WrapHandler(telemetry.Profiles()))
	return nil
}

// configSchemaName is the schema of a job's settings in the document.
const configSchemaName = "JobConfig"

// specification is the document as JSON, in which config_overrides have the schema of a
// job's settings. huma isn't told of it: it would refuse what Config.Merge refuses
// better.
func specification(doc *huma.OpenAPI) ([]byte, error) {
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, err
	}
	var spec map[string]any
	if err := json.Unmarshal(b, &spec); err != nil {
		return nil, err
	}
	schemas := spec["components"].(map[string]any)["schemas"].(map[string]any)
	for _, schema := range schemas {
		properties, _ := schema.(map[string]any)["properties"].(map[string]any)
		if overrides, ok := properties["config_overrides"].(map[string]any); ok {
			properties["config_overrides"] = map[string]any{
				"$ref": "#/components/schemas/" + configSchemaName, "description": overrides["description"],
			}
		}
	}
	schemas[configSchemaName] = scu.ConfigSchema()
	return json.Marshal(spec)
}

func static(contentType, policy string, body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		if policy != "" {
			w.Header().Set("Content-Security-Policy", policy)
		}
		w.Write(body)
	})
}

func renderDocs(doc *huma.OpenAPI) ([]byte, error) {
	t, err := template.New("docs").Funcs(template.FuncMap{"typeOf": schemaType, "operations": operations, "required": slices.Contains[[]string]}).Parse(docsPage)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, map[string]any{"Doc": doc, "Schemas": doc.Components.Schemas.Map(), "Config": scu.ConfigFields()})
	return b.Bytes(), err
}

// operations lists the document's routes in the order of its tags, then by path.
func operations(doc *huma.OpenAPI) []operation {
	var ops []operation
	for p, item := range doc.Paths {
		for method, op := range methods(item) {
			ops = append(ops, operation{method, p, op})
		}
	}
	slices.SortFunc(ops, func(a, b operation) int {
		return cmp.Or(rank(a.Tags[0])-rank(b.Tags[0]), strings.Compare(a.Path+a.Method, b.Path+b.Method))
	})
	return ops
}

// schemaType says what a schema allows, as HTML: types, links to named ones,
// bounds and choices.
func schemaType(s *huma.Schema) template.HTML {
	if s == nil {
		return ""
	}
	esc := func(v any) string { return template.HTMLEscapeString(fmt.Sprint(v)) }
	var text string
	switch {
	case s.Ref != "":
		name := esc(path.Base(s.Ref))
		text = `<a href="#` + name + `">` + name + `</a>`
	case s.Type == huma.TypeArray:
		text = "list of " + string(schemaType(s.Items))
	case s.Format != "" && s.Type == huma.TypeString:
		text = esc(s.Format)
	default:
		text = esc(s.Type)
	}
	for _, choice := range s.Enum {
		text += " <code>" + esc(choice) + "</code>"
	}
	if s.Minimum != nil || s.Maximum != nil {
		text += " "
		if s.Minimum != nil {
			text += esc(*s.Minimum)
		}
		text += "…"
		if s.Maximum != nil {
			text += esc(*s.Maximum)
		}
	}
	if s.Default != nil {
		text += ", default " + esc(s.Default)
	}
	return template.HTML(text)
}

// documentStreams tells the document what huma can't see: bodies that stream.
func (s *Server) documentStreams() {
	paths := s.huma.OpenAPI().Paths
	binary := func() *huma.Schema { return &huma.Schema{Type: huma.TypeString, Format: "binary"} }
	paths["/files"].Post.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"multipart/form-data": {Schema: &huma.Schema{
			Type: huma.TypeObject, Required: []string{"file"}, Properties: map[string]*huma.Schema{"file": binary()}}},
	}}
	paths["/blobs/{sha256}"].Put.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/octet-stream": {Schema: binary()},
	}}
	for _, path := range []string{"/jobs/{id}/adapter", "/jobs/{id}/checkpoints/{step}"} {
		paths[path].Get.Responses["200"] = &huma.Response{
			Description: "The PEFT folder: adapter_model.safetensors, adapter_config.json and what belongs to it. The ETag is its sha256.",
			Content:     map[string]*huma.MediaType{"application/zip": {Schema: binary()}},
		}
		paths[path].Get.Responses["206"] = &huma.Response{
			Description: "The part that Range asks for",
			Content:     map[string]*huma.MediaType{"application/zip": {Schema: binary()}},
		}
		paths[path].Get.Responses["304"] = &huma.Response{Description: "The copy at hand is right"}
	}
	paths["/jobs/{id}/adapter.gguf"].Get.Responses["200"] = &huma.Response{
		Description: "The file, as scu merge --to gguf-adapter writes it. The ETag is its sha256.",
		Content:     map[string]*huma.MediaType{"application/octet-stream": {Schema: binary()}},
	}
	paths["/jobs/{id}/metrics.csv"].Get.Responses["200"] = &huma.Response{
		Description: "A header, then a line for each step: training_metrics.csv with tokens_per_sec, which the file in the adapter hasn't, so that the same job gives the same file.",
		Content:     map[string]*huma.MediaType{"text/csv": {Schema: &huma.Schema{Type: huma.TypeString}}},
	}
	paths["/events"].Get.Responses["200"] = &huma.Response{
		Description: "Events \"job\" (a JobSummary, at each change of a state), \"deleted\" (a job_id) and \"metrics\" (a Metrics: the newest step of a job that trains, four times a second at most).",
		Content:     map[string]*huma.MediaType{"text/event-stream": {}},
	}
	paths["/jobs/{id}/events"].Get.Responses["200"] = &huma.Response{
		Description: "Events \"status\" (a JobStatus: at first, and at each change) and \"metrics\" (a Metrics each step, the id being the step). It ends when the job does.",
		Content:     map[string]*huma.MediaType{"text/event-stream": {}},
	}
}
