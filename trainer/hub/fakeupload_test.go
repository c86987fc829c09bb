package hub

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
)

// uploads is what a fakeHub keeps of uploads.
type uploads struct {
	exists    bool              // the repository, before the upload
	chunkSize int               // of multipart links; 0 for basic ones
	ignored   string            // a file that .gitignore names
	created   []string          // bodies of create
	commits   []string          // bodies of commit
	stored    map[string][]byte // large files, by sha256
	parts     map[string][]byte // by "sha256/number"
}

// serveUpload answers the calls at the Hub.
func (h *fakeHub) serveUpload(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stored == nil {
		h.stored, h.parts = map[string][]byte{}, map[string][]byte{}
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		h.Error(err)
	}
	oid, complete := strings.CutPrefix(r.URL.Path, "/complete/")
	if withToken := r.Header.Get("Authorization") != ""; withToken == complete {
		h.Errorf("%s: token sent: %v", r.URL.Path, withToken)
	}
	switch r.URL.Path {
	case "/api/repos/create":
		h.created = append(h.created, string(body))
		if h.exists {
			fail(w, 409, "", "You already created this model repo")
			return
		}
		fmt.Fprint(w, `{"url":"https://huggingface.co/owner/model"}`)
	case "/api/validate-yaml":
		if bytes.Contains(body, []byte("license: 7")) {
			w.WriteHeader(400)
			fmt.Fprint(w, `{"errors":[{"message":"license must be a string"}]}`)
			return
		}
		fmt.Fprint(w, "{}")
	case "/api/models/owner/model/preupload/main":
		h.preupload(w, body)
	case "/owner/model.git/info/lfs/objects/batch":
		h.batch(w, r, body)
	case "/verify":
		var ask struct {
			OID  string
			Size int
		}
		if json.Unmarshal(body, &ask) != nil || len(h.stored[ask.OID]) != ask.Size {
			fail(w, 404, "", "not in the storage")
		}
	case "/complete/" + oid:
		h.complete(w, oid, body)
	case "/api/models/owner/model/commit/main":
		if r.Header.Get("Content-Type") != "application/x-ndjson" {
			h.Error(r.Header)
		}
		h.commits = append(h.commits, string(body))
		fmt.Fprint(w, `{"commitUrl":"https://huggingface.co/owner/model/commit/1","commitOid":"1"}`)
	default:
		fail(w, 404, "RepoNotFound", "Repository not found")
	}
}

// preupload decides by the name, and knows the files that the repository has.
func (h *fakeHub) preupload(w http.ResponseWriter, body []byte) {
	var ask struct {
		Files []struct {
			Path   string
			Sample []byte
			Size   int
		}
	}
	if err := json.Unmarshal(body, &ask); err != nil {
		h.Error(err)
	}
	files := []map[string]any{}
	for _, f := range ask.Files {
		if len(f.Sample) != min(f.Size, 512) {
			h.Errorf("%s: a sample of %d bytes", f.Path, len(f.Sample))
		}
		file := map[string]any{"path": f.Path, "uploadMode": "regular", "shouldIgnore": f.Path == h.ignored}
		content, known := h.files[f.Path]
		if strings.HasSuffix(f.Path, ".safetensors") {
			file["uploadMode"] = "lfs"
			if known {
				file["oid"] = sha(content)
			}
		} else if known {
			file["oid"] = gitName(content)
		}
		files = append(files, file)
	}
	json.NewEncoder(w).Encode(map[string]any{"files": files})
}

func (h *fakeHub) batch(w http.ResponseWriter, r *http.Request, body []byte) {
	if r.Header.Get("Accept") != lfsType || r.Header.Get("Content-Type") != lfsType {
		h.Error(r.Header)
	}
	var ask struct {
		Operation string
		Transfers []string
		HashAlgo  string `json:"hash_algo"`
		Ref       struct{ Name string }
		Objects   []struct {
			OID  string
			Size int
		}
	}
	if err := json.Unmarshal(body, &ask); err != nil {
		h.Error(err)
	}
	if got := fmt.Sprint(ask.Operation, ask.Transfers, ask.HashAlgo, ask.Ref); got != "upload[basic multipart]sha256{main}" {
		h.Error(got)
	}
	objects := []map[string]any{}
	for _, o := range ask.Objects {
		object := map[string]any{"oid": o.OID, "size": o.Size}
		if _, known := h.stored[o.OID]; !known {
			upload := map[string]any{"href": h.storage.URL + "/put/" + o.OID + "?" + signature}
			if h.chunkSize > 0 {
				header := map[string]any{"chunk_size": fmt.Sprint(h.chunkSize), "Content-Type": "x"}
				for i := range (o.Size-1)/h.chunkSize + 1 {
					header[fmt.Sprintf("%05d", i+1)] = fmt.Sprintf("%s/part/%s/%d?%s", h.storage.URL, o.OID, i+1, signature)
				}
				// As the public Hub's own link, which the client must take to its endpoint.
				upload = map[string]any{"href": DefaultEndpoint + "/complete/" + o.OID, "header": header}
			}
			object["actions"] = map[string]any{"upload": upload, "verify": map[string]any{"href": h.hub.URL + "/verify"}}
		}
		objects = append(objects, object)
	}
	json.NewEncoder(w).Encode(map[string]any{"transfer": "basic", "objects": objects})
}

// complete joins the parts that the body lists.
func (h *fakeHub) complete(w http.ResponseWriter, oid string, body []byte) {
	var ask struct {
		OID   string
		Parts []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := json.Unmarshal(body, &ask); err != nil || ask.OID != oid {
		h.Error(string(body), err)
	}
	var whole []byte
	for i, part := range ask.Parts {
		content := h.parts[fmt.Sprintf("%s/%d", oid, i+1)]
		if part.PartNumber != i+1 || part.ETag != `"`+sha(content)+`"` {
			h.Errorf("part %d: %+v", i+1, part)
		}
		whole = append(whole, content...)
	}
	h.keep(w, oid, whole)
}

// servePut answers at the storage.
func (h *fakeHub) servePut(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client has gone
	}
	if r.URL.RawQuery != signature || r.ContentLength != int64(len(body)) {
		h.Errorf("%s: %d bytes of %d", r.URL, len(body), r.ContentLength)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch kind, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); kind {
	case "put":
		h.keep(w, rest, body)
	case "part":
		h.parts[rest] = body
		w.Header().Set("ETag", `"`+sha(body)+`"`)
	default:
		http.NotFound(w, r)
	}
}

func (h *fakeHub) keep(w http.ResponseWriter, oid string, content []byte) {
	if sha(content) != oid {
		h.Errorf("%d bytes that are not %s", len(content), oid)
	}
	h.stored[oid] = content
}

// committed reads a commit's body: path -> content (small) or sha256 (large), and the message.
func (h *fakeHub) committed(body string) (files map[string]string, message string) {
	files = map[string]string{}
	for line := range strings.Lines(body) {
		var item struct {
			Key   string
			Value struct {
				Summary, Description    string
				Path, Encoding, Content string
				Algo, OID               string
				Size                    int
			}
		}
		if err := json.Unmarshal([]byte(line), &item); err != nil {
			h.Fatal(err)
		}
		v := item.Value
		switch item.Key {
		case "header":
			message = path.Join(v.Summary, v.Description)
		case "file":
			content, err := base64.StdEncoding.DecodeString(v.Content)
			if err != nil || v.Encoding != "base64" {
				h.Fatal(line, err)
			}
			files[v.Path] = string(content)
		case "lfsFile":
			if v.Algo != "sha256" || len(h.stored[v.OID]) != v.Size {
				h.Fatal(line)
			}
			files[v.Path] = v.OID
		default:
			h.Fatal(line)
		}
	}
	return files, message
}
