package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// What the OpenAPI document says beyond what huma sees: tags in the order of a user's
// tasks, each operation's refusals, what is open without a key, the license.

// tags of operations, in the order in which a user comes to them.
var tags = []*huma.Tag{
	{Name: "Files", Description: "Training data, uploaded"},
	{Name: "Before a job", Description: "What would become of it: nothing is kept"},
	{Name: "Jobs", Description: "Submitted, followed, ended"},
	{Name: "Results", Description: "What a job learned: steps, adapters, checkpoints"},
	{Name: "Comparisons", Description: "Settings trained beside each other"},
	{Name: "Webhooks", Description: "Addresses that are told when jobs change, by Standard Webhooks"},
	{Name: "Service", Description: "The server itself"},
}

// tagOf is the tag of a path.
func tagOf(path string) string {
	switch {
	case strings.HasPrefix(path, "/files"):
		return "Files"
	case strings.HasPrefix(path, "/webhooks"):
		return "Webhooks"
	case strings.HasPrefix(path, "/comparisons"):
		return "Comparisons"
	case slices.Contains([]string{"/data/check", "/estimate", "/recommend", "/jobs/validate"}, path):
		return "Before a job"
	case strings.HasPrefix(path, "/jobs/{id}/") && !slices.Contains([]string{"status", "cancel", "stop", "pause", "resume", "retry"}, path[len("/jobs/{id}/"):]):
		return "Results"
	case strings.HasPrefix(path, "/jobs"), path == "/events":
		return "Jobs"
	}
	return "Service"
}

// rank is a tag's place.
func rank(tag string) int {
	return slices.IndexFunc(tags, func(t *huma.Tag) bool { return t.Name == tag })
}

// methods are an item's operations.
func methods(item *huma.PathItem) map[string]*huma.Operation {
	all := map[string]*huma.Operation{http.MethodGet: item.Get, http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodPatch: item.Patch, http.MethodDelete: item.Delete}
	for method, op := range all {
		if op == nil {
			delete(all, method)
		}
	}
	return all
}

// completeDocument adds to the document what the routes don't say.
func (s *Server) completeDocument() {
	doc := s.huma.OpenAPI()
	doc.Info.License = &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"}
	doc.Tags = tags
	for path, item := range doc.Paths {
		for method, op := range methods(item) {
			op.Tags = []string{tagOf(path)}
			if scope := scopeOf(method, path); scope == anyone {
				op.Security = []map[string][]string{}
			} else {
				op.Security = []map[string][]string{{"bearer": {string(scope)}}}
			}
			for _, status := range s.refusals(method, path, op) {
				if code := strconv.Itoa(status); op.Responses[code] == nil {
					op.Responses[code] = &huma.Response{Description: http.StatusText(status), Content: map[string]*huma.MediaType{
						"application/json": {Schema: &huma.Schema{Ref: "#/components/schemas/ErrorBody"}},
					}}
				}
			}
			for status, answer := range op.Responses {
				if answer.Headers == nil {
					answer.Headers = map[string]*huma.Param{}
				}
				answer.Headers[requestIDHeader] = &huma.Param{Description: "Names the request, in the log too; the client's own if it sent one", Schema: &huma.Schema{Type: huma.TypeString}}
				if status == strconv.Itoa(http.StatusTooManyRequests) {
					answer.Headers["Retry-After"] = &huma.Param{Description: "In how many seconds to come again, if it was one request too many", Schema: &huma.Schema{Type: huma.TypeInteger}}
				}
			}
		}
	}
}

// refusals are the statuses with which an operation refuses a request, besides those that
// any may have.
func (s *Server) refusals(method, path string, op *huma.Operation) []int {
	var out []int
	if scopeOf(method, path) != anyone {
		out = append(out, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests)
	}
	if strings.Contains(path, "{") {
		out = append(out, http.StatusNotFound)
	}
	if method != http.MethodGet && strings.Contains(path, "{") {
		out = append(out, http.StatusConflict)
	}
	if path == "/session" && method == http.MethodPost {
		out = append(out, http.StatusUnauthorized, http.StatusTooManyRequests)
	}
	if path == "/jobs/submit" || path == "/jobs/batch" || path == "/comparisons" && method == http.MethodPost { // another one under the same key or name
		out = append(out, http.StatusConflict)
	}
	if op.RequestBody != nil {
		out = append(out, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	if slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.Name == "Range" }) {
		out = append(out, http.StatusRequestedRangeNotSatisfiable)
	}
	if op.RequestBody != nil || slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "query" }) {
		out = append(out, http.StatusUnprocessableEntity)
	}
	return out
}
