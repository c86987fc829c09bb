package api

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// What is wrong with a submission is told with its field, and leaves no job and
// no file.
func TestBadSubmissions(t *testing.T) {
	r := start(t, func(o *Options) {
		o.PrivateDirs = []string{filepath.Join(o.DataDirs[0], "scu-data")}
	})
	outside := writeFile(t, t.TempDir(), "secret.txt", "secret")
	writeFile(t, r.data, "empty.txt", "")
	writeFile(t, r.data, "huge.txt", strings.Repeat("x", 64<<10+1))
	must(t, os.MkdirAll(filepath.Join(r.data, "scu-data"), 0o700))
	writeFile(t, filepath.Join(r.data, "scu-data"), "scu.db", "jobs of others")
	must(t, os.Mkdir(filepath.Join(r.data, "folder"), 0o700))
	must(t, os.Mkdir(filepath.Join(r.data, ".ssh"), 0o700))
	writeFile(t, filepath.Join(r.data, ".ssh"), "id_rsa", "a key")
	writeFile(t, r.data, ".env", "PASSWORD=x")
	must(t, os.Symlink(".env", filepath.Join(r.data, "plain.txt")))
	must(t, syscall.Mkfifo(filepath.Join(r.data, "fifo"), 0o600))
	must(t, os.Symlink(outside, filepath.Join(r.data, "link.txt")))
	must(t, os.Symlink(filepath.Dir(outside), filepath.Join(r.data, "linked")))
	must(t, os.Symlink("loop", filepath.Join(r.data, "loop")))
	listening, err := net.Listen("unix", filepath.Join(r.data, "socket"))
	must(t, err)
	defer listening.Close()

	model := func(named string) string {
		return fmt.Sprintf(`{"base_model": %q, "train_data_path": "train.txt"}`, named)
	}
	data := func(named string) string {
		return fmt.Sprintf(`{"base_model": "bookworm-2m", "train_data_path": %q}`, named)
	}
	with := func(more string) string {
		return `{"base_model": "bookworm-2m", "train_data_path": "train.txt", ` + more + `}`
	}
	over := func(overrides string) string { return with(`"config_overrides": ` + overrides) }

	for _, c := range []struct {
		name, body string
		status     int
		code       scu.Code
		field      string
	}{
		{"no body", "", 400, scu.CodeInvalid, ""},
		{"not JSON", "{", 400, scu.CodeInvalid, ""},
		{"two JSON values", data("train.txt") + "{}", 400, scu.CodeInvalid, ""},
		{"a list", "[]", 422, scu.CodeInvalid, ""},
		{"null", "null", 422, scu.CodeInvalid, ""},
		{"deeply nested", strings.Repeat("[", 20000), 400, scu.CodeInvalid, ""},
		{"oversize", data(strings.Repeat("x", 2<<20)), 413, scu.CodeTooLarge, ""},
		{"nothing in it", "{}", 422, scu.CodeInvalid, "base_model"},
		{"no data", `{"base_model": "bookworm-2m"}`, 422, scu.CodeInvalid, "train_data_path"},
		{"unknown field", with(`"traget_s": 0.1`), 422, scu.CodeInvalid, "traget_s"},
		{"field twice", with(`"name": "a", "name": "b"`), 422, scu.CodeInvalid, "name"},
		{"field twice, as whole numbers with a point", with(`"priority": 5.0, "priority": 1e1`), 422, scu.CodeInvalid, "priority"},
		{"field twice, by another case", with(`"priority": 5, "Priority": 7`), 422, scu.CodeInvalid, "Priority"},
		{"override twice", over(`{"lora": {"r": 4, "r": 8}}`), 422, scu.CodeInvalid, "config_overrides.lora.r"},
		{"source twice", `{"base_model": "bookworm-2m", "train_data": [{"path": "train.txt"}, {"path": "a.txt", "path": "train.txt"}]}`, 422, scu.CodeInvalid, "train_data[1].path"},
		{"model of the wrong type", `{"base_model": 5, "train_data_path": "train.txt"}`, 422, scu.CodeInvalid, "base_model"},
		{"priority too high", with(`"priority": 101`), 422, scu.CodeInvalid, "priority"},
		{"priority too low", with(`"priority": -101`), 422, scu.CodeInvalid, "priority"},
		{"priority is no whole number", with(`"priority": 1.5`), 422, scu.CodeInvalid, "priority"},
		{"priority is text", with(`"priority": "high"`), 422, scu.CodeInvalid, "priority"},
		{"name too long", with(`"name": "` + strings.Repeat("x", 201) + `"`), 422, scu.CodeInvalid, "name"},
		{"name with an escape sequence", with(`"name": "\u001b[2J"`), 422, scu.CodeInvalid, "name"},
		{"name that reads backwards", with(`"name": "\u202egpj.exe"`), 422, scu.CodeInvalid, "name"},
		{"target_s too high", with(`"target_s": 0.6`), 422, scu.CodeInvalid, "target_s"},
		{"target_s too low", with(`"target_s": 0`), 422, scu.CodeInvalid, "target_s"},
		{"target_s is text", with(`"target_s": "low"`), 422, scu.CodeInvalid, "target_s"},
		{"target_s is no JSON number", with(`"target_s": NaN`), 400, scu.CodeInvalid, ""},

		{"overrides are a list", over(`[]`), 422, scu.CodeInvalid, "config_overrides"},
		{"unknown override", over(`{"leraning_rate": 1}`), 422, scu.CodeInvalid, "leraning_rate"},
		{"unknown nested override", over(`{"lora": {"rank": 4}}`), 422, scu.CodeInvalid, "lora.rank"},
		{"override of the wrong type", over(`{"batch_size": "4"}`), 422, scu.CodeInvalid, "batch_size"},
		{"half a step", over(`{"steps": 2.5}`), 422, scu.CodeInvalid, "steps"},
		{"no steps", over(`{"steps": 0}`), 422, scu.CodeInvalid, "steps"},
		{"nested object is a number", over(`{"lora": 4}`), 422, scu.CodeInvalid, "lora"},
		{"rank too high", over(`{"lora": {"r": 129}}`), 422, scu.CodeInvalid, "lora.r"},
		{"alpha too high", over(`{"lora": {"alpha": 257}}`), 422, scu.CodeInvalid, "lora.alpha"},
		{"dropout too high", over(`{"lora": {"dropout": 0.6}}`), 422, scu.CodeInvalid, "lora.dropout"},
		{"no modules", over(`{"lora": {"target_modules": []}}`), 422, scu.CodeInvalid, "lora.target_modules"},
		{"more modules than the log takes", over(`{"lora": {"target_modules": ["q_proj"` + strings.Repeat(`, "q_proj"`, 50_000) + `]}}`), 413, scu.CodeTooLarge, ""},
		{"gain too high", over(`{"control": {"law": "log_pi", "Kp": 11}}`), 422, scu.CodeInvalid, "control.Kp"},
		{"lambdas crossed", over(`{"control": {"law": "scu", "lambda_min": 1, "lambda_max": 0.5}}`), 422, scu.CodeInvalid, "control.lambda_min"},
		{"unknown law", over(`{"control": {"law": "pid"}}`), 422, scu.CodeInvalid, "control.law"},
		{"block too short", over(`{"block_size": 64}`), 422, scu.CodeInvalid, "block_size"},
		{"block too long", over(`{"block_size": 65536}`), 422, scu.CodeInvalid, "block_size"},
		{"sigma of nothing", over(`{"prior_sigma": 0}`), 422, scu.CodeInvalid, "prior_sigma"},
		{"number out of range", over(`{"learning_rate": 1e400}`), 400, scu.CodeInvalid, ""},
		{"storage is not the user's", over(`{"adapter_output_dir": "/etc"}`), 422, scu.CodeInvalid, "adapter_output_dir"},
		{"model in the overrides", over(`{"base_model": "gpt2"}`), 422, scu.CodeInvalid, "base_model"},

		{"empty model", model(""), 422, scu.CodeInvalid, "base_model"},
		{"unknown model", model("no/such-model"), 422, scu.CodeInvalid, "base_model"},
		{"model with spaces", model("my model; rm -rf"), 422, scu.CodeInvalid, "base_model"},
		{"model outside", model(filepath.Dir(outside)), 403, scu.CodeForbidden, "base_model"},
		{"model outside, relative", model("../.."), 403, scu.CodeForbidden, "base_model"},
		{"model through a link", model("./linked"), 403, scu.CodeForbidden, "base_model"},
		{"model is a file", model("./train.txt"), 422, scu.CodeInvalid, "base_model"},

		{"empty path", data(""), 422, scu.CodeInvalid, "train_data_path"},
		{"missing file", data("nothing.txt"), 422, scu.CodeInvalid, "train_data_path"},
		{"file as a folder", data("train.txt/x"), 422, scu.CodeInvalid, "train_data_path"},
		{"empty file", data("empty.txt"), 422, scu.CodeInvalid, "train_data_path"},
		{"file too big", data("huge.txt"), 413, scu.CodeTooLarge, "train_data_path"},
		{"folder", data("folder"), 422, scu.CodeInvalid, "train_data_path"},
		{"the data folder itself", data("."), 422, scu.CodeInvalid, "train_data_path"},
		{"fifo", data("fifo"), 422, scu.CodeInvalid, "train_data_path"},
		{"socket", data("socket"), 422, scu.CodeInvalid, "train_data_path"},
		{"device", data("/dev/zero"), 403, scu.CodeForbidden, "train_data_path"},
		{"path outside", data(outside), 403, scu.CodeForbidden, "train_data_path"},
		{"missing path outside", data("/no/such/file"), 403, scu.CodeForbidden, "train_data_path"},
		{"traversal", data("../../../../../../../../etc/passwd"), 403, scu.CodeForbidden, "train_data_path"},
		{"traversal inside a path", data("folder/../../files"), 403, scu.CodeForbidden, "train_data_path"},
		{"link that leads outside", data("link.txt"), 403, scu.CodeForbidden, "train_data_path"},
		{"folder link that leads outside", data("linked/secret.txt"), 403, scu.CodeForbidden, "train_data_path"},
		{"link to itself", data("loop"), 422, scu.CodeInvalid, "train_data_path"},
		{"the server's own state", data("scu-data/scu.db"), 403, scu.CodeForbidden, "train_data_path"},
		{"what the server's own state might hold", data("scu-data/nats-url"), 403, scu.CodeForbidden, "train_data_path"},
		{"hidden file", data(".env"), 403, scu.CodeForbidden, "train_data_path"},
		{"file in a hidden folder", data("./folder/../.ssh/id_rsa"), 403, scu.CodeForbidden, "train_data_path"},
		{"link to a hidden file", data("plain.txt"), 403, scu.CodeForbidden, "train_data_path"},
		{"NUL in the path", `{"base_model": "bookworm-2m", "train_data_path": "a\u0000b"}`, 422, scu.CodeInvalid, "train_data_path"},
		{"path too long", data(strings.Repeat("x", 5000)), 422, scu.CodeInvalid, "train_data_path"},
		{"name too long for the disk", data(strings.Repeat("x", 300)), 422, scu.CodeInvalid, "train_data_path"},
		{"unknown upload", data(strings.Repeat("0", 64)), 422, scu.CodeInvalid, "train_data_path"},
		{"ftp", data("ftp://example.com/a.txt"), 422, scu.CodeInvalid, "train_data_path"},
		{"file URL", data("file:///etc/passwd"), 422, scu.CodeInvalid, "train_data_path"},
		{"URL without a host", data("http:///a.txt"), 422, scu.CodeInvalid, "train_data_path"},
		{"URL with a password", data("http://user:secret@example.com/a.txt"), 422, scu.CodeInvalid, "train_data_path"},
		{"URL of loopback", data("http://127.0.0.1/a.txt"), 403, scu.CodeForbidden, "train_data_path"},
		{"bad validation data after good data", with(`"val_data_path": "nothing.txt"`), 422, scu.CodeInvalid, "val_data_path"},
		{"validation data outside", with(`"val_data_path": "/etc/passwd"`), 403, scu.CodeForbidden, "val_data_path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, _, body := r.ask("POST", "/jobs/submit", c.body)
			e := r.refused(t, status, body, c.status, c.code, c.field)
			if e.Hint == "" && e.Field == "" {
				t.Errorf("neither a hint nor a field: %s", body)
			}
			if strings.Contains(body, "secret.txt") && !strings.Contains(c.body, "secret.txt") {
				t.Errorf("the answer tells where a link leads: %s", body)
			}
			if left := r.stored(); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
	if n := r.jobs(); n != 0 {
		t.Errorf("%d jobs were made", n)
	}
}

func TestBadRequests(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	const none = "0123456789abcdef"
	for _, c := range []struct {
		method, path, body string
		headers            []string
		status             int
		code               scu.Code
		field              string
	}{
		{"GET", "/jobs/" + none, "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs/" + none + "/status", "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs/" + none + "/adapter", "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs/" + none + "/metrics", "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs/" + none + "/events", "", nil, 404, scu.CodeNotFound, ""},
		{"POST", "/jobs/" + none + "/cancel", "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs/NOT-AN-ID/status", "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs/*/status", "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs/%3E/status", "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs/..%2f..%2fetc/status", "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs/a%00b/status", "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs/" + strings.Repeat("a", 5000) + "/status", "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs/" + id + "/adapter", "", nil, 404, scu.CodeNotFound, ""},
		{"GET", "/jobs?limit=0", "", nil, 422, scu.CodeInvalid, "limit"},
		{"GET", "/jobs?limit=1001", "", nil, 422, scu.CodeInvalid, "limit"},
		{"GET", "/jobs?limit=ten", "", nil, 422, scu.CodeInvalid, "limit"},
		{"GET", "/jobs?status=done", "", nil, 422, scu.CodeInvalid, "status"},
		{"GET", "/jobs?stauts=failed", "", nil, 422, scu.CodeInvalid, "stauts"},
		{"GET", "/jobs?after=x", "", nil, 422, scu.CodeInvalid, "after"},
		{"GET", "/jobs/" + id + "/metrics?after=-2", "", nil, 422, scu.CodeInvalid, "after"},
		{"GET", "/jobs/" + id + "/metrics?limit=10001", "", nil, 422, scu.CodeInvalid, "limit"},
		{"GET", "/jobs/" + id + "/events", "", []string{"Last-Event-ID", "x"}, 422, scu.CodeInvalid, "Last-Event-ID"},
		{"GET", "/nothing/here", "", nil, 404, scu.CodeNotFound, ""},
		{"PUT", "/jobs/" + id, "", nil, 405, scu.CodeInvalid, ""},
		{"GET", "/jobs/submit/status", "", nil, 404, scu.CodeNotFound, ""},
		{"POST", "/jobs/submit", "{}", []string{"Content-Type", "text/plain"}, 415, scu.CodeUnsupported, ""},
		{"POST", "/files", "hello", nil, 415, scu.CodeUnsupported, ""},
		{"POST", "/files", "hello", []string{"Content-Type", "multipart/form-data"}, 415, scu.CodeUnsupported, ""},
		{"POST", "/files", "hello", []string{"Content-Type", "multipart/form-data; boundary=b"}, 422, scu.CodeInvalid, "file"},
		{"POST", "/jobs/" + id + "/cancel", "", []string{"Origin", "https://evil.example"}, 403, scu.CodeForbidden, ""},
		{"POST", "/jobs/" + id + "/cancel", "", []string{"Sec-Fetch-Site", "cross-site"}, 403, scu.CodeForbidden, ""},
		{"GET", "/jobs", "", []string{"Host", "rebound.example"}, 403, scu.CodeForbidden, ""},
		{"GET", "/jobs", "", []string{"Host", "127.0.0.1.evil.example:80"}, 403, scu.CodeForbidden, ""},
	} {
		t.Run(fmt.Sprintf("%s %.60s %v", c.method, c.path, c.headers), func(t *testing.T) {
			status, _, body := r.ask(c.method, c.path, c.body, c.headers...)
			r.refused(t, status, body, c.status, c.code, c.field)
		})
	}
	for named, hint := range map[string]string{none: "GET /jobs lists those that are here", "NOT-AN-ID": "a job id is the 16 hex digits that a submission returned"} {
		for _, of := range []string{"", "/status", "/metrics", "/events", "/checkpoints", "/adapter"} {
			if _, _, body := r.ask("GET", "/jobs/"+named+of, ""); !strings.Contains(body, hint) {
				t.Errorf("%s%s: %s", named, of, body)
			}
		}
	}
	if st, err := r.sdk.Status(t.Context(), id); err != nil || st.Status != scu.Queued {
		t.Errorf("the job is %s, %v", st.Status, err)
	}
	for _, host := range []string{"localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000", "[::1]"} {
		if status, _, body := r.ask("GET", "/jobs", "", "Host", host); status != 200 {
			t.Errorf("host %s was refused: %d %s", host, status, body)
		}
	}
	if _, h, _ := r.ask("OPTIONS", "/jobs", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "GET"); h.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another origin's page may read: %v", h)
	}
}

// form is a multipart body.
func form(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString("--b\r\n" + p + "\r\n")
	}
	return b.String() + "--b--\r\n"
}

func part(name, file, content string) string {
	head := `Content-Disposition: form-data; name="` + name + `"`
	if file != "" {
		head += `; filename="` + file + `"`
	}
	return head + "\r\n\r\n" + content
}

func TestUploads(t *testing.T) {
	r := start(t, nil)
	kind := []string{"Content-Type", "multipart/form-data; boundary=b"}
	big := strings.Repeat("x", 64<<10+1)
	whole := form(part("file", "a.txt", "hello"))
	for _, c := range []struct {
		name, body string
		status     int
		code       scu.Code
	}{
		{"no file", form(part("note", "", "hi")), 422, scu.CodeInvalid},
		{"empty form", "--b--\r\n", 422, scu.CodeInvalid},
		{"empty file", form(part("file", "a.txt", "")), 422, scu.CodeInvalid},
		{"one byte too big", form(part("file", "a.txt", big)), 413, scu.CodeTooLarge},
		{"far too big", form(part("file", "a.txt", strings.Repeat(big, 4))), 413, scu.CodeTooLarge},
		{"too much beside the file", form(part("note", "", big), part("file", "a.txt", "hello")), 413, scu.CodeTooLarge},
		{"too much in names beside the file", form(part(strings.Repeat("n", 40<<10), "", ""), part(strings.Repeat("m", 40<<10), "", ""), part("file", "a.txt", "hello")), 413, scu.CodeTooLarge},
		{"two files", form(part("file", "a.txt", "hello"), part("file", "b.txt", "hello too")), 422, scu.CodeInvalid},
		{"too much behind the file", form(part("file", "a.txt", "hello"), part("note", "", big)), 413, scu.CodeTooLarge},
		{"broken off in the file", whole[:len(whole)-12], 422, scu.CodeInvalid},
		{"broken off in the head", whole[:20], 422, scu.CodeInvalid},
		{"no form at all", "\x00\x01\x02", 422, scu.CodeInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, _, body := r.ask("POST", "/files", c.body, kind...)
			field := "file"
			if strings.HasPrefix(c.name, "too much ") {
				field = ""
			}
			r.refused(t, status, body, c.status, c.code, field)
			if left := r.stored(); len(left) != 0 {
				t.Errorf("left %v", left)
			}
		})
	}
	for file, name := range map[string]string{"a.txt": "a.txt", "../../etc/passwd": "passwd", "..": "data"} {
		status, _, body := r.ask("POST", "/files", form(part("note", "", "passed over"), part("file", file, "hello "+file)), kind...)
		if status != 200 || !strings.Contains(body, `"name":"`+name+`"`) {
			t.Errorf("upload of %q gave %d %s", file, status, body)
		}
	}
	for _, path := range r.stored() {
		if !strings.HasPrefix(path, r.files+string(filepath.Separator)) {
			t.Errorf("stored outside: %s", path)
		}
	}
	// A request without a length streams just so, and is stopped at the limit.
	req, err := http.NewRequest("POST", r.url+"/files", io.MultiReader(strings.NewReader("--b\r\n"+part("file", "a", "")), endless{}))
	must(t, err)
	req.Header.Set("Content-Type", kind[1])
	if resp, err := http.DefaultClient.Do(req); err == nil { // or the server hung up on us
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		r.refused(t, resp.StatusCode, string(b), 413, scu.CodeTooLarge, "file")
	}
	if n := len(r.stored()); n != 3 {
		t.Errorf("%d files are stored, want 3", n)
	}
}

// A client that looks for no answer before it has sent everything gets one too,
// whatever part of the server refuses.
func TestRefusedRequestsAreReadToTheirEnd(t *testing.T) {
	r := start(t, func(o *Options) { o.Key = "s3cret" })
	long := strings.Repeat("x", 16<<20)
	upload := "POST /files HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\n"
	for name, c := range map[string]struct {
		head, key, body string
		status          int
	}{
		"file too big": {upload, "s3cret", form(part("file", "a.txt", long)), 413},
		"wrong key":    {upload, "wrong", form(part("file", "a.txt", long)), 401},
		"JSON too big": {"POST /jobs/submit HTTP/1.1\r\nContent-Type: application/json\r\n", "s3cret", `{"base_model": "` + long + `"}`, 413},
		"no route":     {"POST /nothing HTTP/1.1\r\n", "s3cret", long, 404},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
			must(t, err)
			defer conn.Close()
			_, err = fmt.Fprintf(conn, "%sHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s", c.head, c.key, len(c.body), c.body)
			must(t, err)
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			must(t, err)
			defer resp.Body.Close()
			if resp.StatusCode != c.status {
				t.Error(resp.Status)
			}
		})
	}
}

// The deadline of a body that was read whole doesn't end what comes after it.
func TestDeadlineEndsWithTheBody(t *testing.T) {
	var set []time.Time
	body := &untilStalled{ctx: t.Context(), r: strings.NewReader("hello"), deadline: func(at time.Time) error { set = append(set, at); return nil }}
	_, err := io.ReadAll(body)
	must(t, err)
	if n := len(set); n < 2 || set[0].IsZero() || !set[n-1].IsZero() {
		t.Errorf("deadlines: %v", set)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestModelFolders(t *testing.T) {
	r := start(t, nil)
	dir := filepath.Join(r.data, "org", "mine")
	must(t, os.MkdirAll(dir, 0o700))
	real, err := filepath.EvalSymlinks(dir)
	must(t, err)
	for named, want := range map[string]string{
		"bookworm-2m": "bookworm-2m", "org/mine": real, "./org/mine/": real, dir: real, "org/known": "org/known", "org/known@v1": "org/known@v1",
	} {
		if got, err := r.server.model(named); err != nil || got != want {
			t.Errorf("model %q is %q, %v; want %q", named, got, err, want)
		}
	}
}

func TestDataByURL(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/data/poems.txt":
			fmt.Fprint(w, "roses are red")
		case "/empty":
		case "/huge":
			w.Header().Set("Content-Length", "1000000")
			io.WriteString(w, strings.Repeat("x", 1000))
		case "/huge-unannounced":
			io.Copy(w, io.LimitReader(endless{}, 1<<20))
		case "/short":
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "half")
		case "/moved":
			http.Redirect(w, req, "/data/poems.txt", http.StatusFound)
		case "/loop":
			http.Redirect(w, req, "/loop", http.StatusFound)
		case "/to-file":
			http.Redirect(w, req, "file:///etc/passwd", http.StatusFound)
		case "/busy":
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			http.NotFound(w, req)
		}
	}))
	defer web.Close()
	r := start(t, func(o *Options) { o.AllowPrivateURLs = true })
	for _, c := range []struct {
		path   string
		status int
		code   scu.Code
	}{
		{"/empty", 422, scu.CodeInvalid},
		{"/huge", 413, scu.CodeTooLarge},
		{"/huge-unannounced", 413, scu.CodeTooLarge},
		{"/short", 503, scu.CodeUnavailable},
		{"/loop", 422, scu.CodeInvalid},
		{"/to-file", 422, scu.CodeInvalid},
		{"/busy", 503, scu.CodeUnavailable},
		{"/missing", 422, scu.CodeInvalid},
	} {
		status, _, body := r.ask("POST", "/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "`+web.URL+c.path+`"}`)
		r.refused(t, status, body, c.status, c.code, "train_data_path")
		if left := r.stored(); len(left) != 0 {
			t.Errorf("%s left %v", c.path, left)
		}
	}
	for _, path := range []string{"/data/poems.txt", "/moved"} {
		status, _, body := r.ask("POST", "/jobs/submit", `{"base_model": "bookworm-2m", "train_data_path": "`+web.URL+path+`"}`)
		if status != 200 {
			t.Fatalf("%s gave %d %s", path, status, body)
		}
	}
	l, err := r.sdk.Jobs(t.Context(), newest)
	must(t, err)
	d, err := r.sdk.Job(t.Context(), l.Jobs[0].JobID)
	must(t, err)
	if d.TrainData.Name != "poems.txt" || d.TrainData.Size != 13 {
		t.Errorf("the data is %+v", d.TrainData)
	}
}
