package openai

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// file is a FileObject.
type file struct {
	ID            string  `json:"id"`
	Object        string  `json:"object"` // "file"
	Bytes         int64   `json:"bytes"`
	CreatedAt     int64   `json:"created_at"`
	ExpiresAt     *int64  `json:"expires_at"`
	Filename      string  `json:"filename"`
	Purpose       string  `json:"purpose"`
	Status        string  `json:"status"`
	StatusDetails *string `json:"status_details"`
}

// Purposes of files: what is uploaded is for fine-tuning, whichever of the first two was
// said.
const (
	fineTune = "fine-tune"
	userData = "user_data"
	results  = "fine-tune-results"
)

func stored(f scu.File) file {
	return file{ID: filePrefix + f.ID, Object: "file", Bytes: f.Size, CreatedAt: f.CreatedAt.Unix(), Filename: f.Name, Purpose: fineTune, Status: "processed"}
}

func (h *handler) createFile(c echo.Context) error {
	f, err := h.Upload(c.Response(), c.Request(), func(fields map[string]string) error {
		purpose, ok := fields["purpose"]
		switch {
		case !ok:
			return scu.Errorf(scu.CodeInvalid, "is missing").At("purpose").WithHint("use fine-tune")
		case purpose != fineTune && purpose != userData:
			return scu.Errorf(scu.CodeUnsupported, "%.40q is no purpose of files here", purpose).At("purpose").WithHint("use fine-tune")
		}
		for _, name := range slices.Sorted(maps.Keys(fields)) {
			if name != "purpose" {
				return scu.Errorf(scu.CodeUnsupported, "files here don't have %.40q", name).At(name).WithHint("leave it out; files stay until they are deleted")
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if f, err = h.File(c.Request().Context(), f.ID); err != nil { // the same bytes may be here since long
		return err
	}
	return reply(c, stored(f))
}

func (h *handler) listFiles(c echo.Context) error {
	q := c.QueryParams()
	limit, err := limitOf(q, 10_000, 10_000)
	if err != nil {
		return err
	}
	order := cmp.Or(q.Get("order"), "desc")
	if order != "asc" && order != "desc" {
		return scu.Errorf(scu.CodeInvalid, "must be asc or desc").At("order")
	}
	var all []scu.File
	if p := q.Get("purpose"); p == "" || p == fineTune {
		if all, err = h.Files(c.Request().Context()); err != nil {
			return err
		}
	}
	slices.SortFunc(all, func(a, b scu.File) int {
		n := cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
		if order == "desc" {
			return -n
		}
		return n
	})
	if after := q.Get("after"); after != "" {
		id, err := fileID(after)
		at := slices.IndexFunc(all, func(f scu.File) bool { return f.ID == id })
		if err != nil || at < 0 {
			return unknownAfter(after)
		}
		all = all[at+1:]
	}
	more := len(all) > limit
	var data []file
	for _, f := range all[:min(limit, len(all))] {
		data = append(data, stored(f))
	}
	return reply(c, listed(data, more, func(f file) string { return f.ID }))
}

func (h *handler) retrieveFile(c echo.Context) error {
	if job, kind, ok := resultOf(c.Param("id")); ok {
		j, err := h.finished(c, job)
		if err != nil {
			return err
		}
		f, err := h.result(c, j, kind)
		if err != nil {
			return err
		}
		return reply(c, f)
	}
	id, err := fileID(c.Param("id"))
	if err != nil {
		return err
	}
	f, err := h.File(c.Request().Context(), id)
	if err != nil {
		return err
	}
	return reply(c, stored(f))
}

func (h *handler) fileContent(c echo.Context) error {
	ctx := c.Request().Context()
	if job, kind, ok := resultOf(c.Param("id")); ok {
		j, err := h.finished(c, job)
		if err != nil {
			return err
		}
		if kind == metricsFile {
			attach(c, "text/csv; charset=utf-8", metricsName(j), -1)
			if _, err := h.writeMetrics(ctx, j.ID, c.Response()); err != nil {
				return broken(c, err)
			}
			return nil
		}
		zip, err := h.OpenAdapter(ctx, j)
		if err != nil {
			return err
		}
		defer zip.Close()
		attach(c, "application/zip", j.Adapter.Name, j.Adapter.Size)
		return copied(c, zip)
	}
	id, err := fileID(c.Param("id"))
	if err != nil {
		return err
	}
	f, err := h.File(ctx, id)
	if err != nil {
		return err
	}
	content, err := h.OpenFile(ctx, id)
	if err != nil {
		return err
	}
	defer content.Close()
	attach(c, "application/octet-stream", f.Name, f.Size)
	return copied(c, content)
}

// attach begins the answer with a file. A length below 0 isn't known.
func attach(c echo.Context, kind, name string, length int64) {
	head := c.Response().Header()
	head.Set("Content-Type", kind)
	head.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	if length >= 0 {
		head.Set("Content-Length", strconv.FormatInt(length, 10))
	}
}

func copied(c echo.Context, from io.Reader) error {
	if _, err := io.Copy(c.Response(), from); err != nil {
		return broken(c, err)
	}
	return nil
}

// broken ends an answer that can't go on: a part must not look whole.
func broken(c echo.Context, err error) error {
	if !c.Response().Committed {
		head := c.Response().Header()
		head.Del("Content-Length")
		head.Del("Content-Disposition")
		return fmt.Errorf("send a file: %w", err)
	}
	panic(http.ErrAbortHandler)
}

func (h *handler) deleteFile(c echo.Context) error {
	named := c.Param("id")
	if _, _, ok := resultOf(named); ok {
		return scu.Errorf(scu.CodeUnsupported, "a job's result files go with their job").WithHint("delete its model")
	}
	id, err := fileID(named)
	if err != nil {
		return err
	}
	if err := h.DeleteFile(c.Request().Context(), id); err != nil {
		return err
	}
	return reply(c, map[string]any{"id": named, "object": "file", "deleted": true})
}
