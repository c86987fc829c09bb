package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/store"
)

// Files are listed in pages, and deleted if no job needs them any more; the refusal names
// those that do.
func TestFilesAreListedAndDeleted(t *testing.T) {
	r, ctx := start(t, nil), t.Context()
	var ids []string
	for _, text := range []string{"one", "two", "three"} {
		f, err := r.sdk.Upload(ctx, text+".txt", strings.NewReader(strings.Repeat(text+" ", 50)), 0, nil)
		must(t, err)
		ids = append(ids, f.ID)
	}
	slices.Sort(ids)
	first, err := r.sdk.Files(ctx, "", 2)
	must(t, err)
	rest, err := r.sdk.Files(ctx, first.Next, 2)
	must(t, err)
	var got []string
	for _, f := range append(first.Files, rest.Files...) {
		got = append(got, f.ID)
	}
	if !slices.Equal(got, ids) || !first.HasMore || rest.HasMore || first.Count != 2 || rest.Count != 1 {
		t.Errorf("listed %v, then %v", first, rest)
	}

	job := r.submit(func(s *client.SubmitRequest) { s.TrainDataPath, s.ValDataPath = ids[0], ids[1] })
	for _, id := range ids[:2] {
		status, _, body := r.ask(http.MethodDelete, "/files/"+id, "")
		if e := r.refused(t, status, body, http.StatusConflict, scu.CodeConflict, ""); !strings.Contains(e.Message, job) {
			t.Errorf("the refusal doesn't name job %s: %s", job, body)
		}
	}
	_, err = r.sdk.Cancel(ctx, job)
	must(t, err)
	for _, id := range ids {
		_, err = r.sdk.DeleteFile(ctx, id)
		must(t, err)
	}
	if left := r.stored(); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	for _, id := range []string{ids[0], "nothing", strings.Repeat("0", 64)} {
		status, _, body := r.ask(http.MethodDelete, "/files/"+id, "")
		r.refused(t, status, body, http.StatusNotFound, scu.CodeNotFound, "")
	}
	status, _, body := r.ask(http.MethodGet, "/files", "")
	if status != 200 || !strings.Contains(body, `"files":[]`) {
		t.Errorf("%d %s", status, body)
	}
}

// A file stays while a submission that found it is being checked.
func TestFileInUseByARequest(t *testing.T) {
	var r *rig
	var id string
	r = start(t, func(o *Options) {
		o.Preflight = preflight(func(*scu.Config, scu.File) ([]string, string, error) {
			status, _, body := r.ask(http.MethodDelete, "/files/"+id, "")
			r.refused(t, status, body, http.StatusConflict, scu.CodeConflict, "")
			return nil, "cpu", nil
		})
	})
	f, err := r.sdk.Upload(t.Context(), "a.txt", strings.NewReader("hello"), 5, nil)
	must(t, err)
	id = f.ID
	r.submit(func(s *client.SubmitRequest) { s.TrainDataPath = id })
}

// A job that has ended can be deleted, with all that it stored; from then on there is
// none, also after a rebuild of the read model.
func TestJobsAreDeleted(t *testing.T) {
	r, ctx := start(t, nil), t.Context()
	kept, id := r.submit(nil), r.submit(nil)
	remove := func(id string, want int, code scu.Code) {
		t.Helper()
		status, _, body := r.ask(http.MethodDelete, "/jobs/"+id, "")
		r.refused(t, status, body, want, code, "")
	}
	remove(id, http.StatusConflict, scu.CodeConflict)
	j := r.begin(id, 2)
	r.step(j, 0)
	remove(id, http.StatusConflict, scu.CodeConflict)
	r.complete(j, []byte("zip"))
	r.step(j, 1) // comes late
	must(t, r.broker.FlushMetrics(ctx))

	_, err := r.sdk.DeleteJob(ctx, id)
	must(t, err)
	remove(id, http.StatusNotFound, scu.CodeNotFound)
	remove("nothing", http.StatusNotFound, scu.CodeNotFound)
	for _, path := range []string{"", "/status", "/metrics", "/metrics.csv", "/events", "/adapter", "/checkpoints"} {
		status, _, body := r.ask(http.MethodGet, "/jobs/"+id+path, "")
		r.refused(t, status, body, http.StatusNotFound, scu.CodeNotFound, "")
	}
	for _, do := range []string{"/cancel", "/stop"} {
		status, _, body := r.ask(http.MethodPost, "/jobs/"+id+do, "")
		r.refused(t, status, body, http.StatusNotFound, scu.CodeNotFound, "")
	}
	if _, _, err := r.broker.GetAdapter(ctx, scu.AdapterKey{Job: id, Attempt: j.Attempt}); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("its adapter: %v", err)
	}
	if _, err := r.broker.LastMetrics(ctx, id); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("its metrics: %v", err)
	}
	r.stop()
	must(t, store.NewProjector(r.server.o.Store.(store.Store), r.broker, store.ProjectorOptions{}).Rebuild(ctx))
	l, err := r.sdk.Jobs(ctx, newest)
	must(t, err)
	if len(l.Jobs) != 1 || l.Jobs[0].JobID != kept {
		t.Errorf("listed are %+v", l.Jobs)
	}
}
