package api

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// openaiService is the server as package openai needs it.
type openaiService struct{ s *Server }

func (o *openaiService) Submit(ctx context.Context, key string, req client.SubmitRequest) (string, error) {
	r, err := o.s.submit(ctx, &submitInput{IdempotencyKey: key, Body: req})
	if err != nil {
		return "", err
	}
	return r.Body.JobID, nil
}

func (o *openaiService) Job(ctx context.Context, id string) (scu.Job, error) {
	j, _, err := o.s.find(ctx, id)
	return j, err
}

func (o *openaiService) Cancel(ctx context.Context, id string) error {
	_, err := o.s.cancel(ctx, &jobInput{ID: id})
	return err
}

func (o *openaiService) Pause(ctx context.Context, id string) error {
	_, err := o.s.pause(ctx, &jobInput{ID: id})
	return err
}

func (o *openaiService) Resume(ctx context.Context, id string) error {
	_, err := o.s.resume(ctx, &jobInput{ID: id})
	return err
}

func (o *openaiService) DeleteJob(ctx context.Context, id string) error {
	_, err := o.s.deleteJob(ctx, &jobInput{ID: id})
	return err
}

func (o *openaiService) Jobs(ctx context.Context, f scu.JobFilter) ([]scu.JobSummary, error) {
	if err := o.s.caughtUp(ctx); err != nil {
		return nil, err
	}
	f.Owner = callerOf(ctx).only()
	return o.s.o.Store.Jobs(ctx, f)
}

// Entries reads a job's few entries from the log.
func (o *openaiService) Entries(ctx context.Context, id string) ([]scu.LogEntry, error) {
	_, last, err := o.s.find(ctx, id)
	if err != nil {
		return nil, err
	}
	leave, err := o.s.streams.take(ctx, "try again") // it follows the log as streams do
	if err != nil {
		return nil, err
	}
	defer leave()
	return o.s.entries(ctx, id, last)
}

func (o *openaiService) Steps(ctx context.Context, id string, p scu.StepPage) ([]scu.Metrics, bool, error) {
	return o.s.o.Store.Metrics(ctx, id, p)
}

func (o *openaiService) StepsCaughtUp(ctx context.Context) error { return o.s.stepsCaughtUp(ctx) }

func (o *openaiService) Latest(ctx context.Context, id string) (*scu.Metrics, error) {
	return o.s.latest(ctx, id)
}

func (o *openaiService) Upload(w http.ResponseWriter, r *http.Request, check func(map[string]string) error) (scu.File, error) {
	control := http.NewResponseController(w)
	return o.s.receive(r.Context(), &uploadInput{
		body:        &untilStalled{ctx: r.Context(), r: r.Body, deadline: control.SetReadDeadline},
		contentType: r.Header.Get("Content-Type"), contentLength: r.Header.Get("Content-Length"),
	}, check)
}

func (o *openaiService) File(ctx context.Context, id string) (scu.File, error) {
	return o.s.stat(ctx, id)
}

func (o *openaiService) Files(ctx context.Context) (all []scu.File, err error) {
	const page = 1000
	for after := ""; ; {
		files, more, err := o.s.files(ctx, after, page)
		if err != nil {
			return nil, err
		}
		all = append(all, files...)
		if !more || len(files) == 0 {
			return all, nil
		}
		after = files[len(files)-1].ID
	}
}

func (o *openaiService) OpenFile(ctx context.Context, id string) (io.ReadCloser, error) {
	if _, err := o.s.stat(ctx, id); err != nil {
		return nil, err
	}
	unpin, err := o.s.pins.pin(id)
	if err != nil {
		return nil, err
	}
	path, err := o.s.o.Files.Local(ctx, id)
	if err != nil {
		unpin()
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		unpin()
		return nil, err
	}
	return &pinned{f, unpin}, nil
}

// pinned is a file that isn't deleted while it is read.
type pinned struct {
	*os.File
	unpin func()
}

func (p *pinned) Close() error {
	defer p.unpin()
	return p.File.Close()
}

func (o *openaiService) DeleteFile(ctx context.Context, id string) error {
	_, err := o.s.deleteFile(ctx, &fileInput{ID: id})
	return err
}

func (o *openaiService) OpenAdapter(ctx context.Context, j scu.Job) (io.ReadCloser, error) {
	return o.s.storedZip(ctx, j.AdapterKey(), j.Adapter.Size, j.Adapter.SHA256)
}

func (o *openaiService) BaseModels() []string {
	return append([]string{scu.BuiltInModel}, o.s.models.modelFolders()...)
}

func (o *openaiService) ResolveBase(named string) (base string, here bool, err error) {
	base, err = o.s.model(named)
	if err != nil || !filepath.IsAbs(base) {
		return base, base == scu.BuiltInModel, err
	}
	_, err = os.Stat(filepath.Join(base, "config.json")) // any other folder is no model
	return base, true, err
}

func (o *openaiService) NameOf(base string) string { return o.s.models.nameOf(base) }

func (o *openaiService) Generate(ctx context.Context, g scu.Generation, emit func(scu.Piece) error) (scu.Generated, error) {
	if o.s.o.Generate == nil {
		return scu.Generated{}, scu.Errorf(scu.CodeUnsupported, "this server doesn't run models").WithHint("fetch the adapter, and load it with scu generate, vLLM or PEFT")
	}
	return o.s.o.Generate(ctx, g, emit)
}

func (o *openaiService) Outward(ctx context.Context, what string, err error) error {
	return o.s.outward(ctx, what, err)
}

// modelFolders are the names of the folders with a model right below the folders.
func (f folders) modelFolders() (names []string) {
	for i, dir := range f.given {
		found, err := filepath.Glob(filepath.Join(f.resolved[i], "*", "config.json"))
		if err != nil {
			continue // of the pattern
		}
		for _, path := range found {
			name := filepath.Base(filepath.Dir(path))
			if _, err := f.findFolder(filepath.Join(dir, name)); err == nil && !hidden(name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// nameOf is the name of a folder as a request may give it: relative to the folders, if it
// lies below one.
func (f folders) nameOf(path string) string {
	if dir, ok := anyBelow(f.resolved, path); ok && filepath.IsAbs(path) {
		if rel, err := filepath.Rel(dir, path); err == nil && !strings.HasPrefix(rel, ".") {
			return filepath.ToSlash(rel)
		}
	}
	return path
}
