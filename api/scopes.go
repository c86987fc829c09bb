package api

import (
	"regexp"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// anyone is the scope of routes that ask for no key: they hold no data.
const anyone scu.Scope = ""

// scopes is the one table of what a request needs: a route that isn't here needs an
// administrator's key.
var scopes = map[string]scu.Scope{
	"GET /":               anyone, // the dashboard's files are the same for everyone
	"GET /assets/*":       anyone,
	"GET /docs":           anyone,
	"GET /openapi.json":   anyone,
	"GET /health":         anyone,
	"GET /readyz":         anyone,
	"GET /livez":          anyone,
	"GET /session":        anyone,
	"POST /session":       anyone,
	"DELETE /session":     anyone,
	"GET /metrics":        scu.ScopeAdmin,
	"* /debug/pprof/*":    scu.ScopeAdmin,
	"POST /keys":          scu.ScopeAdmin,
	"GET /keys":           scu.ScopeAdmin,
	"DELETE /keys/{id}":   scu.ScopeAdmin,
	"GET /gc":             scu.ScopeAdmin,
	"POST /gc":            scu.ScopeAdmin,
	"GET /blobs":          scu.ScopeAdmin,
	"POST /blobs/verify":  scu.ScopeAdmin,
	"PUT /blobs/{sha256}": scu.ScopeAdmin,
	"POST /queue/pause":   scu.ScopeAdmin,
	"POST /queue/resume":  scu.ScopeAdmin,

	"GET /trainers":              scu.ScopeRead,
	"POST /trainers/{id}/drain":  scu.ScopeAdmin,
	"POST /trainers/{id}/resume": scu.ScopeAdmin,

	"POST /jobs/submit":                 scu.ScopeSubmit,
	"POST /jobs/batch":                  scu.ScopeSubmit,
	"POST /jobs/retry":                  scu.ScopeSubmit,
	"GET /jobs":                         scu.ScopeRead,
	"GET /jobs/counts":                  scu.ScopeRead,
	"GET /jobs/{id}":                    scu.ScopeRead,
	"DELETE /jobs/{id}":                 scu.ScopeSubmit,
	"GET /jobs/{id}/status":             scu.ScopeRead,
	"POST /jobs/{id}/cancel":            scu.ScopeSubmit,
	"POST /jobs/{id}/stop":              scu.ScopeSubmit,
	"POST /jobs/{id}/pause":             scu.ScopeSubmit,
	"POST /jobs/{id}/resume":            scu.ScopeSubmit,
	"POST /jobs/{id}/retry":             scu.ScopeSubmit,
	"GET /jobs/{id}/history":            scu.ScopeRead,
	"GET /jobs/{id}/metrics":            scu.ScopeRead,
	"GET /jobs/{id}/curves":             scu.ScopeRead,
	"GET /jobs/{id}/metrics.csv":        scu.ScopeRead,
	"GET /jobs/{id}/events":             scu.ScopeRead,
	"GET /jobs/{id}/adapter":            scu.ScopeRead,
	"GET /jobs/{id}/adapter.gguf":       scu.ScopeRead,
	"GET /jobs/{id}/checkpoints":        scu.ScopeRead,
	"GET /jobs/{id}/checkpoints/{step}": scu.ScopeRead,
	"GET /events":                       scu.ScopeRead,

	"POST /files":        scu.ScopeSubmit,
	"GET /files":         scu.ScopeRead,
	"DELETE /files/{id}": scu.ScopeSubmit,

	// They fetch what is named and compute on it, as submissions do.
	"POST /data/check":    scu.ScopeSubmit,
	"POST /estimate":      scu.ScopeSubmit,
	"POST /recommend":     scu.ScopeSubmit,
	"POST /jobs/validate": scu.ScopeSubmit,

	"POST /webhooks":                scu.ScopeSubmit,
	"GET /webhooks":                 scu.ScopeRead,
	"DELETE /webhooks/{id}":         scu.ScopeSubmit,
	"POST /webhooks/{id}/test":      scu.ScopeSubmit,
	"GET /webhooks/{id}/deliveries": scu.ScopeRead,

	"POST /comparisons":             scu.ScopeSubmit,
	"GET /comparisons":              scu.ScopeRead,
	"GET /comparisons/{id}":         scu.ScopeRead,
	"POST /comparisons/{id}/cancel": scu.ScopeSubmit,
	"POST /comparisons/{id}/resume": scu.ScopeSubmit,

	"POST /v1/files":                            scu.ScopeSubmit,
	"GET /v1/files":                             scu.ScopeRead,
	"GET /v1/files/{id}":                        scu.ScopeRead,
	"GET /v1/files/{id}/content":                scu.ScopeRead,
	"DELETE /v1/files/{id}":                     scu.ScopeSubmit,
	"POST /v1/fine_tuning/jobs":                 scu.ScopeSubmit,
	"GET /v1/fine_tuning/jobs":                  scu.ScopeRead,
	"GET /v1/fine_tuning/jobs/{id}":             scu.ScopeRead,
	"POST /v1/fine_tuning/jobs/{id}/cancel":     scu.ScopeSubmit,
	"POST /v1/fine_tuning/jobs/{id}/pause":      scu.ScopeSubmit,
	"POST /v1/fine_tuning/jobs/{id}/resume":     scu.ScopeSubmit,
	"GET /v1/fine_tuning/jobs/{id}/events":      scu.ScopeRead,
	"GET /v1/fine_tuning/jobs/{id}/checkpoints": scu.ScopeRead,
	"GET /v1/models":                            scu.ScopeRead,
	"GET /v1/models/*":                          scu.ScopeRead,
	"DELETE /v1/models/*":                       scu.ScopeSubmit,
	"POST /v1/completions":                      scu.ScopeSubmit,
	"POST /v1/chat/completions":                 scu.ScopeSubmit,
}

// scopeOf is the scope of a route, as the OpenAPI document writes its path.
func scopeOf(method, path string) scu.Scope {
	for _, route := range []string{method + " " + path, "* " + path} {
		if s, ok := scopes[route]; ok {
			return s
		}
	}
	return scu.ScopeAdmin
}

var echoParameter = regexp.MustCompile(`:(\w+)`)

// inDocument is a path of echo as the OpenAPI document writes it.
func inDocument(path string) string { return echoParameter.ReplaceAllString(path, "{$1}") }

// routeScopes is what each route needs, by method and echo's path.
func routeScopes(routes []*echo.Route) map[string]scu.Scope {
	all := make(map[string]scu.Scope, len(routes))
	for _, r := range routes {
		all[r.Method+" "+r.Path] = scopeOf(r.Method, inDocument(r.Path))
	}
	return all
}
