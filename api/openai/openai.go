// Package openai answers OpenAI's API below /v1, as far as it is about fine-tuning and
// about using what was fine-tuned: files, fine_tuning.jobs, models, completions and
// chat.completions. It is another view of the same service: a job that was submitted here
// is seen in the service's own API and the other way round. Ids carry a prefix here
// (file-, ftjob-), and an adapter is a model, "ft:<base>:scu:<name>:<job>".
//
// What can't be done as asked is refused by the name of its field, never dropped in
// silence. The specification is OpenAI's own, so that these routes are not in the OpenAPI
// document; make openai holds them to the official Python package.
package openai

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// Prefix is where all of it lies.
const Prefix = "/v1/"

// Service is what the service's own API does for this one. An id that isn't there is
// CodeNotFound.
type Service interface {
	// Submit takes a job in, once under a key unless that is "", and returns its id.
	Submit(ctx context.Context, key string, req client.SubmitRequest) (id string, err error)
	Job(ctx context.Context, id string) (scu.Job, error)
	Cancel(ctx context.Context, id string) error
	Pause(ctx context.Context, id string) error
	Resume(ctx context.Context, id string) error
	// DeleteJob removes a job that has ended, with its adapter.
	DeleteJob(ctx context.Context, id string) error
	// Jobs lists jobs, the newest first, those after an id.
	Jobs(ctx context.Context, f scu.JobFilter) ([]scu.JobSummary, error)
	// Entries are a job's entries in the log so far.
	Entries(ctx context.Context, id string) ([]scu.LogEntry, error)
	// Steps is a page of a job's steps, and whether there are more.
	Steps(ctx context.Context, id string, p scu.StepPage) ([]scu.Metrics, bool, error)
	// StepsCaughtUp waits, at most a moment, until Steps has all that were published before.
	StepsCaughtUp(ctx context.Context) error
	// Latest is a job's newest step; nil if there is none.
	Latest(ctx context.Context, id string) (*scu.Metrics, error)

	// Upload stores the file of a multipart request if check allows its other fields.
	Upload(w http.ResponseWriter, r *http.Request, check func(fields map[string]string) error) (scu.File, error)
	File(ctx context.Context, id string) (scu.File, error)
	Files(ctx context.Context) ([]scu.File, error)
	OpenFile(ctx context.Context, id string) (io.ReadCloser, error)
	DeleteFile(ctx context.Context, id string) error

	// OpenAdapter opens the zip of a job's adapter; its last read fails if the bytes
	// are others than the job's record says.
	OpenAdapter(ctx context.Context, j scu.Job) (io.ReadCloser, error)
	// BaseModels are the names of base models that are here.
	BaseModels() []string
	// ResolveBase is what Generate takes for a base model's name, and whether it is here
	// and not on the Hub.
	ResolveBase(named string) (base string, here bool, err error)
	// NameOf is how people name a base model as a job has it: a folder by where it lies
	// below the server's folders.
	NameOf(base string) string
	// Generate continues a text; see scu.Generation.
	Generate(ctx context.Context, g scu.Generation, emit func(scu.Piece) error) (scu.Generated, error)

	// Outward is what of an error goes out; what is a fault of ours is logged.
	Outward(ctx context.Context, what string, err error) error
}

// maxBody bounds a body of JSON.
const maxBody = 1 << 20

type handler struct{ Service }

// Register adds the routes.
func Register(e *echo.Echo, s Service) {
	h := &handler{s}
	for _, r := range []struct {
		method, path string
		answer       func(echo.Context) error
	}{
		{http.MethodPost, "files", h.createFile},
		{http.MethodGet, "files", h.listFiles},
		{http.MethodGet, "files/:id", h.retrieveFile},
		{http.MethodGet, "files/:id/content", h.fileContent},
		{http.MethodDelete, "files/:id", h.deleteFile},
		{http.MethodPost, "fine_tuning/jobs", h.createJob},
		{http.MethodGet, "fine_tuning/jobs", h.listJobs},
		{http.MethodGet, "fine_tuning/jobs/:id", h.retrieveJob},
		{http.MethodPost, "fine_tuning/jobs/:id/cancel", h.cancelJob},
		{http.MethodPost, "fine_tuning/jobs/:id/pause", h.pauseJob},
		{http.MethodPost, "fine_tuning/jobs/:id/resume", h.resumeJob},
		{http.MethodGet, "fine_tuning/jobs/:id/events", h.listEvents},
		{http.MethodGet, "fine_tuning/jobs/:id/checkpoints", h.listCheckpoints},
		{http.MethodGet, "models", h.listModels},
		{http.MethodGet, "models/*", h.retrieveModel},
		{http.MethodDelete, "models/*", h.deleteModel},
		{http.MethodPost, "completions", h.complete},
		{http.MethodPost, "chat/completions", h.chat},
	} {
		what := "openai " + r.method + " " + r.path
		e.Add(r.method, Prefix+r.path, func(c echo.Context) error {
			if err := r.answer(c); err != nil && !c.Response().Committed {
				Refuse(c.Response(), s.Outward(c.Request().Context(), what, err))
			}
			return nil
		})
	}
}

// Owns reports whether a path is one of this API, and its refusals have this API's form.
func Owns(path string) bool { return strings.HasPrefix(path, Prefix) }

func reply(c echo.Context, body any) error {
	c.Response().Header().Set("Content-Type", "application/json")
	return json.NewEncoder(c.Response()).Encode(body)
}
