package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shannon-control/scu/models"
)

// TestBadInput sends what people get wrong to a whole server, model checks and
// all, over HTTP and through the command line. Each is answered with the right
// status and a message that says what to do, and leaves nothing behind: no job,
// no file.
func TestBadInput(t *testing.T) {
	root := t.TempDir()
	data := filepath.Join(root, "data")
	outside := filepath.Join(root, "outside.txt")
	good := strings.Repeat("A plain line of text, and another one after it.\n", 40)
	write := func(name, content string) string {
		path := filepath.Join(data, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(content), 0o600))
		return path
	}
	for name, content := range map[string]string{
		"good.txt": good, "empty.txt": "", "blank.txt": " \n\n", "binary.txt": "ab\x00cd", "latin1.txt": "one\ntwo\nna\xefve\n", "utf16.txt": "\xff\xfeh\x00i\x00",
		"badline.jsonl": `{"text":"a"}` + "\n{\"text\":\n", "nofield.jsonl": `{"text":"a"}` + "\n" + `{"body":"b"}` + "\n", "wrongtype.jsonl": `{"text":["a"]}` + "\n",
		"array.json": `[{"text":"a"}]`, "half.jsonl": `{"prompt":"a"}` + "\n", "both.jsonl": `{"text":"a","prompt":"b","completion":"c"}` + "\n",
		"chat.jsonl": `{"messages":[{"role":"clown","content":"a"}]}` + "\n", "huge.txt": strings.Repeat("x", 2<<20),
	} {
		write(name, content)
	}
	check(t, os.WriteFile(outside, []byte(good), 0o600))
	check(t, os.Symlink(outside, filepath.Join(data, "link.txt")))
	check(t, os.Mkdir(filepath.Join(data, "folder"), 0o755))

	damaged := func(name string, change func(dir string)) string {
		dir := filepath.Join(data, "models", name)
		at, err := models.Extract(dir)
		check(t, err)
		change(at)
		return at
	}
	patch := func(file string, change func([]byte) []byte) func(string) {
		return func(dir string) {
			b, err := os.ReadFile(filepath.Join(dir, file))
			check(t, err)
			check(t, os.WriteFile(filepath.Join(dir, file), change(b), 0o600))
		}
	}
	replace := func(old, by string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(by), 1) }
	}
	truncated := damaged("truncated", patch("model.safetensors", func(b []byte) []byte { return b[:len(b)/2] }))
	lying := damaged("lying", patch("model.safetensors", func(b []byte) []byte { binary.LittleEndian.PutUint64(b, 1<<40); return b }))
	overlapping := damaged("overlapping", patch("model.safetensors", replace(`"data_offsets":[0,`, `"data_offsets":[2,`)))
	wrongShape := damaged("shape", patch("config.json", replace(`"hidden_size": 192`, `"hidden_size": 96`)))
	otherKind := damaged("kind", patch("config.json", replace(`"model_type": "llama"`, `"model_type": "mamba"`)))
	otherRope := damaged("rope", patch("config.json", replace(`"rope_type": "default"`, `"rope_type": "spiral","factor":2`)))
	noTokenizer := damaged("notok", func(dir string) { check(t, os.Remove(filepath.Join(dir, "tokenizer.json"))) })
	badTokenizer := damaged("badtok", patch("tokenizer.json", func(b []byte) []byte { return b[:1000] }))
	smallVocab := damaged("vocab", func(dir string) {
		patch("tokenizer.json", replace(`"added_tokens": [`, `"added_tokens": [{"id":4096,"content":"<|x|>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true},`))(dir)
	})
	noConfig := damaged("noconfig", func(dir string) { check(t, os.Remove(filepath.Join(dir, "config.json"))) })
	noWeights := damaged("noweights", func(dir string) { check(t, os.Remove(filepath.Join(dir, "model.safetensors"))) })

	url := startServer(t, "--data", filepath.Join(root, "state"), "--data-dirs", data, "--max-file-bytes", "1048576", "--threads", "1")
	job := func(extra string) string {
		return `{"base_model":"bookworm-2m","train_data_path":"good.txt"` + extra + `}`
	}
	on := func(model string) string {
		return fmt.Sprintf(`{"base_model":%q,"train_data_path":"good.txt"}`, model)
	}
	with := func(file string) string {
		return fmt.Sprintf(`{"base_model":"bookworm-2m","train_data_path":%q}`, file)
	}
	override := func(o string) string { return job(`,"config_overrides":` + o) }

	cases := []struct {
		name, body string
		status     int
		says       string
	}{
		{"nothing", ``, 400, ""},
		{"half a JSON", `{"base_model":`, 400, ""},
		{"no model", `{"train_data_path":"good.txt"}`, 422, "base_model"},
		{"no data", `{"base_model":"bookworm-2m"}`, 422, "train_data_path"},
		{"unknown key", job(`,"learning_rate":1`), 422, "learning_rate"},
		{"priority out of range", job(`,"priority":101`), 422, "priority"},
		{"priority in words", job(`,"priority":"high"`), 422, "priority"},
		{"target out of range", job(`,"target_s":0.9`), 422, "target_s"},

		{"missing file", with("none.txt"), 422, "train_data_path"},
		{"empty file", with("empty.txt"), 422, "train_data_path"},
		{"blank file", with("blank.txt"), 422, "train_data_path"},
		{"binary file", with("binary.txt"), 422, "train_data_path"},
		{"Latin-1", with("latin1.txt"), 422, "line 3"},
		{"UTF-16", with("utf16.txt"), 422, "train_data_path"},
		{"a folder", with("folder"), 422, "train_data_path"},
		{"oversize", with("huge.txt"), 413, "train_data_path"},
		{"bad JSON line", with("badline.jsonl"), 422, "line 2"},
		{"missing field", with("nofield.jsonl"), 422, "line 2"},
		{"wrong type", with("wrongtype.jsonl"), 422, "line 1"},
		{"a JSON array", with("array.json"), 422, "line 1"},
		{"half a pair", with("half.jsonl"), 422, "line 1"},
		{"two forms in a row", with("both.jsonl"), 422, "line 1"},
		{"a role that the template refuses", with("chat.jsonl"), 422, "line 1"},
		{"absolute path outside", with("/etc/passwd"), 403, "upload the file"},
		{"way up", with("../outside.txt"), 403, "upload the file"},
		{"link outside", with("link.txt"), 403, "upload the file"},
		{"unknown upload", with(strings.Repeat("ab", 32)), 422, "POST /files"},
		{"private URL", with("http://127.0.0.1:1/x"), 403, "train_data_path"},
		{"metadata URL", with("http://169.254.169.254/latest"), 403, "train_data_path"},
		{"local host by name", with("http://localhost/x"), 403, "train_data_path"},
		{"file URL", with("file:///etc/passwd"), 422, "http"},
		{"bad validation data", job(`,"val_data_path":"empty.txt"`), 422, "val_data_path"},

		{"model path outside", on("/etc"), 403, "base_model"},
		{"no such model folder", on("./none"), 422, "base_model"},
		{"truncated weights", on(truncated), 422, "weights can't be read"},
		{"lying header", on(lying), 422, "weights can't be read"},
		{"overlapping tensors", on(overlapping), 422, "weights can't be read"},
		{"shape mismatch", on(wrongShape), 422, "config.json says"},
		{"unknown architecture", on(otherKind), 422, "is not supported"},
		{"unknown rope scaling", on(otherRope), 422, "spiral"},
		{"no tokenizer", on(noTokenizer), 422, "tokenizer"},
		{"broken tokenizer", on(badTokenizer), 422, "tokenizer"},
		{"tokenizer of another model", on(smallVocab), 422, "don't belong together"},
		{"no config.json", on(noConfig), 422, "config.json"},
		{"no weights", on(noWeights), 422, "weights"},

		{"unknown override", override(`{"lora":{"rank":4}}`), 422, "lora.rank"},
		{"wrong type in overrides", override(`{"steps":"ten"}`), 422, "steps: want a whole number"},
		{"rank out of range", override(`{"lora":{"r":1000}}`), 422, "lora.r"},
		{"learning rate out of range", override(`{"learning_rate":5}`), 422, "learning_rate"},
		{"no steps", override(`{"steps":0}`), 422, "steps"},
		{"bounds crossed", override(`{"control":{"law":"scu","lambda_min":0.5,"lambda_max":0.2}}`), 422, "control.lambda_min"},
		{"unknown law", override(`{"control":{"law":"bang"}}`), 422, "control.law"},
		{"unknown module", override(`{"lora":{"target_modules":["c_attn"]}}`), 422, "lora.target_modules[0]"},
		{"block too long", override(`{"block_size":4096}`), 422, "longer than the model's 512 positions"},
		{"a path on the server", override(`{"adapter_output_dir":"/tmp"}`), 422, "adapter_output_dir"},
		{"a GPU below 0", override(`{"gpu_id":-1}`), 422, "gpu_id"},
		{"upload without a token", override(`{"auto_upload_to_hub":true}`), 422, "SCU_HF_TOKEN"},
	}
	for _, c := range cases {
		t.Run("submit/"+c.name, func(t *testing.T) {
			status, body := ask(t, "POST", url+"/jobs/submit", c.body)
			refused(t, status, body, c.status, c.says)
		})
	}
	none := "/jobs/0123456789abcdef"
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{"GET", none, 404}, {"GET", none + "/status", 404}, {"GET", none + "/adapter", 404}, {"GET", none + "/metrics", 404},
		{"POST", none + "/cancel", 404}, {"GET", "/jobs/..%2f..%2fetc/status", 404}, {"GET", "/jobs?limit=-1", 422},
		{"GET", "/jobs?limit=x", 422}, {"GET", "/jobs?status=done", 422}, {"GET", "/nothing", 404}, {"DELETE", "/jobs", 405},
	} {
		t.Run(c.method+c.path, func(t *testing.T) {
			status, body := ask(t, c.method, url+c.path, "")
			refused(t, status, body, c.status, "")
		})
	}
	t.Run("upload/oversize", func(t *testing.T) {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		f, err := w.CreateFormFile("file", "../../x")
		check(t, err)
		_, err = f.Write(bytes.Repeat([]byte("y"), 2<<20))
		check(t, err)
		check(t, w.Close())
		r, err := http.Post(url+"/files", w.FormDataContentType(), &b)
		check(t, err)
		defer r.Body.Close()
		body, _ := io.ReadAll(r.Body)
		refused(t, r.StatusCode, body, 413, "")
	})

	// The same through the command line: a code that scripts can use, one line that
	// says what to do.
	for _, c := range []struct {
		name string
		code int
		says string
		args []string
	}{
		{"missing file", 2, "none.txt", []string{"train", "--base-model", "bookworm-2m", "--train-data", filepath.Join(data, "none.txt")}},
		{"bad line", 2, "line 2", []string{"train", "--base-model", "bookworm-2m", "--train-data", filepath.Join(data, "badline.jsonl")}},
		{"bad model", 2, "weights can't be read", []string{"train", "--base-model", truncated, "--train-data", filepath.Join(data, "good.txt")}},
		{"unknown job", 5, "0123456789abcdef", []string{"status", "0123456789abcdef"}},
		{"not a job", 5, "", []string{"cancel", "../etc"}},
	} {
		t.Run("cli/"+c.name, func(t *testing.T) {
			cmd := exec.Command("scu", c.args...)
			cmd.Env = append(os.Environ(), variable("api-url")+"="+url)
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(out), c.says) || strings.Contains(string(out), "goroutine") {
				t.Errorf("exit code %d, want %d; it says\n%s", cmd.ProcessState.ExitCode(), c.code, out)
			}
		})
	}

	// Nothing is left: no job, and of files only what the command line uploaded by itself.
	_, body := ask(t, "GET", url+"/jobs", "")
	if !strings.Contains(string(body), `"count":0`) {
		t.Errorf("jobs were made: %s", body)
	}
	var kept []string
	check(t, filepath.WalkDir(filepath.Join(root, "state", "files"), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == ".name" { // what the bytes beside it are called
			var title []byte
			title, err = os.ReadFile(path)
			kept = append(kept, string(title))
		}
		return err
	}))
	for _, name := range kept {
		if name != "badline.jsonl" && name != "good.txt" { // uploads of the command line's cases
			t.Errorf("a file was left: %v", kept)
			break
		}
	}
}

// startServer runs scu serve for the test's time and returns its address.
func startServer(t *testing.T, args ...string) string {
	t.Helper()
	_, url := serving(t, args...)
	return url
}

// serving is startServer, with the process.
func serving(t *testing.T, args ...string) (*exec.Cmd, string) {
	t.Helper()
	c := exec.Command("scu", append([]string{"serve", "--listen", "127.0.0.1:0", "--json"}, args...)...)
	c.Env = append([]string{"HF_HUB_OFFLINE=1"}, os.Environ()...)
	out, err := c.StdoutPipe()
	check(t, err)
	check(t, c.Start())
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	var said struct {
		APIURL string `json:"api_url"`
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	check(t, err)
	check(t, json.Unmarshal(line, &said))
	return c, said.APIURL
}

func ask(t *testing.T, method, url, body string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	check(t, err)
	if body != "" || method == "POST" {
		r.Header.Set("Content-Type", "application/json")
	}
	a, err := http.DefaultClient.Do(r)
	check(t, err)
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	check(t, err)
	return a.StatusCode, b
}

// refused checks an answer that says no.
func refused(t *testing.T, status int, body []byte, want int, says string) {
	t.Helper()
	var e struct {
		Error struct{ Code, Message string }
	}
	if err := json.Unmarshal(body, &e); err != nil || e.Error.Code == "" || e.Error.Message == "" {
		t.Errorf("%d: not an error of ours: %s", status, body)
	}
	if status != want || !strings.Contains(string(body), says) || bytes.Contains(body, []byte("goroutine")) {
		t.Errorf("got %d, want %d saying %q: %s", status, want, says, body)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
