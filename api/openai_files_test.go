package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
	"github.com/shannon-control/scu/store/sqlite"
)

// A file is stored, listed, read and deleted by its id, with or without the prefix.
func TestOpenAIFiles(t *testing.T) {
	r := startOpenAI(t, nil)
	const text = "One line.\n"
	status, f := r.v1Upload(t, "rows.txt", text, "purpose", "fine-tune")
	if status != http.StatusOK {
		t.Fatalf("%d %v", status, f)
	}
	fits(t, "a file", f, fileShape)
	id := f.text("id")
	if f["bytes"] != float64(len(text)) || f["filename"] != "rows.txt" || f["purpose"] != "fine-tune" || !strings.HasPrefix(id, "file-") {
		t.Errorf("the file is %v", f)
	}
	_, again := r.v1Upload(t, "rows.txt", text, "purpose", "user_data")
	if again.text("id") != id {
		t.Errorf("the same bytes are %s and %s", id, again["id"])
	}
	for _, named := range []string{id, strings.TrimPrefix(id, "file-")} {
		if got := r.v1(t, "GET", "files/"+named, "", 200); got.text("id") != id || got["created_at"] != again["created_at"] {
			t.Errorf("%s is %v", named, got)
		}
		status, head, content := r.ask("GET", "/v1/files/"+named+"/content", "", "Accept", "application/binary")
		if status != 200 || content != text || head.Get("Content-Disposition") != "attachment; filename=rows.txt" || head.Get("Content-Length") != "10" {
			t.Errorf("its content is %d %q, %v", status, content, head)
		}
	}
	// The service's own API has the same file.
	if list, err := r.sdk.Files(t.Context(), "", 10); err != nil || len(list.Files) != 1 || "file-"+list.Files[0].ID != id {
		t.Errorf("its own list has %+v, %v", list, err)
	}
	if got := r.v1(t, "DELETE", "files/"+id, "", 200); got.text("id") != id || got["object"] != "file" || got["deleted"] != true {
		t.Errorf("deleting it answers %v", got)
	}
	for _, route := range []string{"GET files/" + id, "GET files/" + id + "/content", "DELETE files/" + id} {
		method, path, _ := strings.Cut(route, " ")
		r.v1Refused(t, method, path, "", 404, "not_found", "")
	}
}

// The list is paged by the last id, in both orders.
func TestOpenAIFileList(t *testing.T) {
	r := startOpenAI(t, nil)
	if ids := r.pages(t, "files", "10"); len(ids) != 0 {
		t.Errorf("there are %v", ids)
	}
	var ids []string
	for _, text := range []string{"one", "two", "three"} {
		ids = append(ids, r.v1File(t, text+"\n"))
	}
	asc := r.pages(t, "files?order=asc", "100")
	slices.Sort(ids)
	if got := slices.Sorted(slices.Values(asc)); !slices.Equal(got, ids) {
		t.Errorf("listed are %v, want %v", asc, ids)
	}
	desc := slices.Clone(asc)
	slices.Reverse(desc)
	for _, limit := range []string{"1", "2", "3", "1000000"} {
		if got := r.pages(t, "files?order=asc", limit); !slices.Equal(got, asc) {
			t.Errorf("by %s: %v, want %v", limit, got, asc)
		}
		if got := r.pages(t, "files?purpose=fine-tune", limit); !slices.Equal(got, desc) {
			t.Errorf("the newest first, by %s: %v, want %v", limit, got, desc)
		}
	}
	if got := r.pages(t, "files?purpose=batch", "10"); len(got) != 0 {
		t.Errorf("for another purpose there are %v", got)
	}
	for query, param := range map[string]string{"order=up": "order", "limit=0": "limit", "limit=-1": "limit", "limit=x": "limit"} {
		r.v1Refused(t, "GET", "files?"+query, "", 400, string(scu.CodeInvalid), param)
	}
	r.v1Refused(t, "GET", "files?after=file-"+strings.Repeat("0", 64), "", 404, "not_found", "after")
	r.v1Refused(t, "GET", "files?after=none", "", 404, "not_found", "after")
}

// What an upload can't be is refused by the name of its field, and nothing is stored.
func TestOpenAIBadUploads(t *testing.T) {
	r := startOpenAI(t, nil)
	for _, c := range []struct {
		name    string
		content string
		fields  []string
		status  int
		code    scu.Code
		param   string
	}{
		{"no purpose", "text", nil, 400, scu.CodeInvalid, "purpose"},
		{"another purpose", "text", []string{"purpose", "assistants"}, 400, scu.CodeUnsupported, "purpose"},
		{"an expiry", "text", []string{"purpose", "fine-tune", "expires_after[anchor]", "created_at", "expires_after[seconds]", "3600"}, 400, scu.CodeUnsupported, "expires_after[anchor]"},
		{"nothing in it", "", []string{"purpose", "fine-tune"}, 400, scu.CodeInvalid, "file"},
		{"too large", strings.Repeat("x", 65<<10), []string{"purpose", "fine-tune"}, 413, scu.CodeTooLarge, "file"},
	} {
		status, o := r.v1Upload(t, "rows.txt", c.content, c.fields...)
		e := o.in("error")
		if status != c.status || e.text("code") != string(c.code) || e.text("param") != c.param || e.text("type") != "invalid_request_error" {
			t.Errorf("%s: %d %v, want %d %s at %s", c.name, status, o, c.status, c.code, c.param)
		}
	}
	r.v1Refused(t, "POST", "files", `{"purpose":"fine-tune"}`, 400, string(scu.CodeUnsupported), "")
	if left := r.stored(); len(left) != 0 {
		t.Errorf("stored are %v", left)
	}
}

// A job's data can't be deleted while it is needed; the client isn't told to try again.
func TestOpenAIFileInUse(t *testing.T) {
	r := startOpenAI(t, nil)
	job := r.v1(t, "GET", "fine_tuning/jobs/"+r.v1Job(t, ""), "", 200)
	file := job.text("training_file")
	r.v1Refused(t, "DELETE", "files/"+file, "", 400, string(scu.CodeConflict), "")
	r.v1(t, "POST", "fine_tuning/jobs/"+job.text("id")+"/cancel", "", 200)
	r.v1(t, "DELETE", "files/"+file, "", 200)
}

// A completed job's result files are its steps as a table and its adapter.
func TestOpenAIResultFiles(t *testing.T) {
	r := startOpenAI(t, nil)
	id := r.submit(nil)
	metrics, adapter := "file-"+id+"-metrics", "file-"+id+"-adapter"
	r.v1Refused(t, "GET", "files/"+metrics, "", 404, "not_found", "")
	j := r.begin(id, 3)
	for i := range 3 {
		r.step(j, i)
	}
	r.complete(j, []byte("a zip"))
	r.projected(t)
	job := r.v1(t, "GET", "fine_tuning/jobs/ftjob-"+id, "", 200)
	if files := job["result_files"].([]any); len(files) != 2 || files[0] != metrics || files[1] != adapter {
		t.Fatalf("its result files are %v", files)
	}
	for _, c := range []struct{ id, name, content string }{
		{metrics, id + "_metrics.csv", "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy,data_bpt,param_bpt,s_ratio,lambda,lr\n" +
			"1,0,,,,0,0,0.01,1,0\n2,0,,,,0,0,0.01,1,0\n3,0,,,,0,0,0.01,1,0\n"},
		{adapter, id + "_adapter.zip", "a zip"},
	} {
		f := r.v1(t, "GET", "files/"+c.id, "", 200)
		fits(t, c.id, f, fileShape)
		if f["bytes"] != float64(len(c.content)) || f["filename"] != c.name || f["purpose"] != "fine-tune-results" {
			t.Errorf("%s is %v", c.id, f)
		}
		resp, err := http.Get(r.url + "/v1/files/" + c.id + "/content")
		must(t, err)
		b, err := io.ReadAll(resp.Body)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != 200 || string(b) != c.content {
			t.Errorf("%s has %d %q, want %q", c.id, resp.StatusCode, b, c.content)
		}
		r.v1Refused(t, "DELETE", "files/"+c.id, "", 400, string(scu.CodeUnsupported), "")
	}
}

// The table of a completed job is whole, though the read model was behind when it was asked for.
func TestOpenAIMetricsAreWhole(t *testing.T) {
	var late *lateModel
	r := startOpenAI(t, func(o *Options) {
		late = &lateModel{ReadModel: o.Store}
		o.Store = late
	})
	id := r.submit(nil)
	j := r.begin(id, 3)
	r.stop()
	for i := range 3 {
		r.step(j, i)
	}
	r.complete(j, []byte("a zip"))
	p := store.NewProjector(late.ReadModel.(*sqlite.Store), r.broker, store.ProjectorOptions{Log: slog.New(slog.DiscardHandler)})
	var goesOn sync.Once
	ran := make(chan error, 1)
	late.asked = func() { goesOn.Do(func() { go func() { ran <- p.Run(t.Context()) }() }) }
	t.Cleanup(func() { late.asked(); must(t, <-ran) })
	if status, _, table := r.ask("GET", "/v1/files/file-"+id+"-metrics/content", ""); status != 200 || strings.Count(table, "\n") != 4 {
		t.Errorf("%d %q", status, table)
	}
}

// lateModel is a read model that stands still until it is asked how far it is.
type lateModel struct {
	scu.ReadModel
	asked func()
}

func (l *lateModel) Position(ctx context.Context) (scu.Position, error) {
	if l.asked != nil {
		l.asked()
	}
	return l.ReadModel.Position(ctx)
}
