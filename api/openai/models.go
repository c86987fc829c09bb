package openai

import (
	"context"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// model is a Model.
type model struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // "model"
	Created int64  `json:"created"`
	OwnedBy string `json:"owned_by"`
}

// maxAdapters bounds how many adapters the list has; every one can be retrieved and used.
const maxAdapters = scu.MaxJobs

func (h *handler) listModels(c echo.Context) error {
	rows, err := h.Jobs(c.Request().Context(), scu.JobFilter{Status: scu.Completed, Limit: maxAdapters})
	if err != nil {
		return err
	}
	data := []model{}
	seen := map[string]bool{}
	add := func(id string, created int64) {
		if !seen[id] {
			seen[id] = true
			data = append(data, model{id, "model", created, "scu"})
		}
	}
	for _, name := range h.BaseModels() {
		add(name, 0)
	}
	for _, r := range rows {
		add(h.NameOf(r.Job.BaseModel), 0)
	}
	for _, r := range rows {
		if r.Job.Adapter != nil {
			add(h.adapterModel(r.Job, 0), r.Job.Adapter.CreatedAt.Unix())
		}
	}
	return reply(c, map[string]any{"object": "list", "data": data})
}

// named is the model in a request's path, whose names hold slashes.
func named(c echo.Context) string {
	s := c.Param("*")
	if plain, err := url.PathUnescape(s); err == nil {
		return plain
	}
	return s
}

func noModel(name string) error {
	return coded(scu.Errorf(scu.CodeNotFound, "there is no model %.200q", name).At("model").WithHint("models.list shows what there is"), modelNotFound)
}

func (h *handler) retrieveModel(c echo.Context) error {
	name := named(c)
	ctx := c.Request().Context()
	if id, step, ok := readModel(name); ok {
		j, _, err := h.adapterOf(ctx, name, id, step)
		if err != nil {
			return err
		}
		return reply(c, model{h.adapterModel(j, step), "model", j.CreatedAt.Unix(), "scu"})
	}
	if _, err := h.baseOf(ctx, name); err != nil {
		return err
	}
	return reply(c, model{name, "model", 0, "scu"})
}

// deleteModel deletes an adapter, which is to delete its job.
func (h *handler) deleteModel(c echo.Context) error {
	name := named(c)
	ctx := c.Request().Context()
	id, step, ok := readModel(name)
	if !ok {
		if _, err := h.baseOf(ctx, name); err != nil {
			return err
		}
		return scu.Errorf(scu.CodeForbidden, "base models can't be deleted").At("model")
	}
	if _, _, err := h.adapterOf(ctx, name, id, step); err != nil {
		return err
	}
	if step > 0 {
		return scu.Errorf(scu.CodeUnsupported, "a checkpoint goes with its job").At("model").WithHint("delete the job's model")
	}
	if err := h.DeleteJob(ctx, id); err != nil {
		return err
	}
	return reply(c, map[string]any{"id": name, "object": "model", "deleted": true})
}

// adapterOf finds the job of an adapter's model and where the adapter is stored.
func (h *handler) adapterOf(ctx context.Context, name, id string, step int) (scu.Job, scu.AdapterKey, error) {
	j, err := h.Job(ctx, id)
	if scu.CodeOf(err) == scu.CodeNotFound {
		return j, scu.AdapterKey{}, noModel(name)
	}
	if err != nil {
		return j, scu.AdapterKey{}, err
	}
	key, ok := adapterKey(j, step)
	if !ok {
		return j, key, noModel(name)
	}
	return j, key, nil
}

// baseOf is what Generate takes for a base model's name: one that is here, or one that a
// job was trained on. Nobody makes the server fetch a model by asking for a text.
func (h *handler) baseOf(ctx context.Context, name string) (string, error) {
	base, here, err := h.ResolveBase(name)
	if err != nil {
		return "", noModel(name)
	}
	if here {
		return base, nil
	}
	rows, err := h.Jobs(ctx, scu.JobFilter{Status: scu.Completed, Limit: maxAdapters})
	if err != nil {
		return "", err
	}
	repo, revision, _ := strings.Cut(base, "@")
	for _, r := range rows {
		if r.Job.BaseModel == repo && (revision == "" || r.Job.Config.BaseRevision == revision) {
			return r.Job.Config.Base(), nil
		}
	}
	return "", noModel(name)
}
