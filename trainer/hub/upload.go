package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

const (
	batchFiles    = 256      // files in one question, the Hub's limit
	sampleBytes   = 512      // of a file's head, by which the Hub tells text from binary
	maxInCommit   = 64 << 20 // bytes of small files, which travel inside the commit
	defaultCommit = "Upload with scu"
)

// UploadFile is one file to upload: Data, or the file at Local when Data is nil.
type UploadFile struct {
	Path  string // in the repository, with '/' between folders
	Local string
	Data  []byte
}

// UploadOptions are the choices of an upload; the zero value is a private repository's main.
type UploadOptions struct {
	Revision    string // branch; "" means main
	Public      bool   // visibility of a repository that does not exist yet; an existing one keeps its own
	Message     string // first line of the commit
	Description string // the rest of it
}

// Upload puts files into repo ("owner/name") as one commit, creating the repository (private
// unless asked) when there is none, and returns the commit's page. Files that the repository
// holds already are not sent; when that is all of them nothing is committed and the repository's
// page is returned. So after any error the same call may simply be made again.
//
// Errors wrap one of the Err values where one fits. The token needs write access.
func (c *Client) Upload(ctx context.Context, repo string, files []UploadFile, opt UploadOptions) (commitURL string, err error) {
	if opt.Revision == "" {
		opt.Revision = "main"
	}
	if opt.Message == "" {
		opt.Message = defaultCommit
	}
	u := &upload{Client: c, repo: repo, opt: opt}
	if commitURL, err = u.run(ctx, files); err != nil {
		return "", fmt.Errorf("hub: upload to %s: %w", repo, err)
	}
	return commitURL, nil
}

// upload is one call of Upload.
type upload struct {
	*Client
	repo string
	opt  UploadOptions
}

func (u *upload) run(ctx context.Context, files []UploadFile) (commitURL string, err error) {
	if err := errors.Join(checkRepo(u.repo), checkRevision(u.opt.Revision)); err != nil {
		return "", err
	}
	switch {
	case !strings.Contains(u.repo, "/"):
		return "", fmt.Errorf("%w: an upload needs \"owner/name\"", ErrBadName)
	case u.Offline:
		return "", errors.New("offline mode is on (HF_HUB_OFFLINE)")
	case u.Token == "":
		return "", ErrUnauthorized
	case len(files) == 0:
		return "", errors.New("no files")
	}
	sources := make([]*source, len(files))
	seen := map[string]bool{}
	for i, f := range files {
		if err := checkFile(f.Path); err != nil {
			return "", err
		}
		if seen[f.Path] {
			return "", fmt.Errorf("%s is given twice", f.Path)
		}
		seen[f.Path] = true
		if sources[i], err = openSource(ctx, f); err != nil {
			return "", err
		}
		defer sources[i].Close()
	}
	if err := u.createRepo(ctx); err != nil {
		return "", fmt.Errorf("create the repository: %w", err)
	}
	for _, s := range sources {
		if s.path == "README.md" {
			if err := u.validateCard(ctx, s); err != nil {
				return "", fmt.Errorf("README.md: %w", err)
			}
		}
	}
	small, large, err := u.sort(ctx, sources)
	if err != nil {
		return "", fmt.Errorf("ask how to upload: %w", err)
	}
	if err := u.sendLarge(ctx, large); err != nil {
		return "", err
	}
	if len(small)+len(large) == 0 {
		return u.endpoint() + "/" + u.repo, nil
	}
	if commitURL, err = u.commit(ctx, small, large); err != nil {
		return "", fmt.Errorf("commit: %w", err)
	}
	return commitURL, nil
}

// source is a file to upload, open, with the hashes that name it on the Hub.
type source struct {
	io.ReaderAt
	io.Closer
	path   string
	size   int64
	sample []byte // the first bytes
	sha256 string // its name in large file storage
	git    string // its name as a git blob
}

func openSource(ctx context.Context, f UploadFile) (*source, error) {
	s := &source{path: f.Path, ReaderAt: bytes.NewReader(f.Data), Closer: io.NopCloser(nil), size: int64(len(f.Data))}
	if f.Data == nil {
		file, err := os.Open(f.Local)
		if err != nil {
			return nil, err
		}
		info, err := file.Stat()
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a regular file", f.Local)
		}
		if err != nil {
			file.Close()
			return nil, err
		}
		s.ReaderAt, s.Closer, s.size = file, file, info.Size()
	}
	if err := s.hash(ctx); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: %w", f.Path, err)
	}
	return s, nil
}

// hash reads the file once, for all of sample, sha256 and git.
func (s *source) hash(ctx context.Context) error {
	large, git := sha256.New(), gitBlob(s.size)
	buf := make([]byte, 1<<20)
	for r := s.reader(); ctx.Err() == nil; {
		n, err := r.Read(buf)
		if s.sample == nil {
			s.sample = bytes.Clone(buf[:min(n, sampleBytes)])
		}
		large.Write(buf[:n])
		git.Write(buf[:n])
		if err == io.EOF {
			s.sha256, s.git = hex.EncodeToString(large.Sum(nil)), hex.EncodeToString(git.Sum(nil))
			return nil
		}
		if err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func (s *source) reader() io.Reader { return io.NewSectionReader(s, 0, s.size) }

// createRepo creates the repository; that it exists already is fine.
func (u *upload) createRepo(ctx context.Context) error {
	owner, name, _ := strings.Cut(u.repo, "/")
	visibility := "private"
	if u.opt.Public {
		visibility = "public"
	}
	err := u.callJSON(ctx, call{url: u.endpoint() + "/api/repos/create"}, map[string]any{
		"type":         "model",
		"organization": owner,
		"name":         name,
		"visibility":   visibility,
	}, nil)
	var status *StatusError
	if errors.As(err, &status) && status.Status == http.StatusConflict {
		return nil
	}
	return err
}

// validateCard lets the Hub look at the model card's front matter before anything is sent.
func (u *upload) validateCard(ctx context.Context, s *source) error {
	if s.size > maxInCommit {
		return fmt.Errorf("%d bytes are too many for a model card", s.size)
	}
	text, err := io.ReadAll(s.reader())
	if err != nil {
		return err
	}
	return u.callJSON(ctx, call{url: u.endpoint() + "/api/validate-yaml"}, map[string]any{
		"content":  string(text),
		"repoType": "model",
	}, nil)
}

// sort asks the Hub which files are small (sent in the commit) and which are large (sent to
// large file storage), and leaves out those that it has or that the repository's .gitignore names.
func (u *upload) sort(ctx context.Context, sources []*source) (small, large []*source, err error) {
	type question struct {
		Path   string `json:"path"`
		Sample string `json:"sample"`
		Size   int64  `json:"size"`
	}
	type decision struct {
		Path         string `json:"path"`
		UploadMode   string `json:"uploadMode"`
		ShouldIgnore bool   `json:"shouldIgnore"`
		OID          string `json:"oid"`
	}
	var inCommit int64
	for start := 0; start < len(sources); start += batchFiles {
		batch := sources[start:min(start+batchFiles, len(sources))]
		ask := struct {
			Files []question `json:"files"`
		}{}
		for _, s := range batch {
			ask.Files = append(ask.Files, question{s.path, base64.StdEncoding.EncodeToString(s.sample), s.size})
		}
		var answer struct {
			Files []decision `json:"files"`
		}
		if err := u.callJSON(ctx, call{url: u.api("preupload")}, ask, &answer); err != nil {
			return nil, nil, err
		}
		decisions := map[string]decision{}
		for _, d := range answer.Files {
			decisions[d.Path] = d
		}
		for _, s := range batch {
			d, ok := decisions[s.path]
			switch {
			case !ok:
				return nil, nil, fmt.Errorf("the answer says nothing of %s", s.path)
			case d.ShouldIgnore, d.OID != "" && (d.OID == s.sha256 || d.OID == s.git):
			case d.UploadMode == "lfs" && s.size > 0:
				large = append(large, s)
			case d.UploadMode == "regular" || d.UploadMode == "lfs": // storage takes no empty files
				if inCommit += s.size; inCommit > maxInCommit {
					return nil, nil, fmt.Errorf("more than %d bytes would be sent as small files", maxInCommit)
				}
				small = append(small, s)
			default:
				return nil, nil, fmt.Errorf("%s: unknown upload mode %q", s.path, printable(d.UploadMode))
			}
		}
	}
	return small, large, nil
}

// api is the address of one of the model's calls at the revision.
func (u *upload) api(what string) string {
	return u.endpoint() + "/api/models/" + u.repo + "/" + what + "/" + url.PathEscape(u.opt.Revision)
}

// commit makes the commit: one JSON value a line, first the message, then the files.
func (u *upload) commit(ctx context.Context, small, large []*source) (commitURL string, err error) {
	var body bytes.Buffer
	line := func(key string, value map[string]any) error {
		return json.NewEncoder(&body).Encode(map[string]any{"key": key, "value": value})
	}
	err = line("header", map[string]any{"summary": u.opt.Message, "description": u.opt.Description})
	if err != nil {
		return "", err
	}
	for _, s := range small {
		content := make([]byte, s.size)
		if _, err := io.ReadFull(s.reader(), content); err != nil {
			return "", fmt.Errorf("%s: %w", s.path, err)
		}
		err := line("file", map[string]any{"path": s.path, "encoding": "base64", "content": base64.StdEncoding.EncodeToString(content)})
		if err != nil {
			return "", err
		}
	}
	for _, s := range large {
		err := line("lfsFile", map[string]any{"path": s.path, "algo": "sha256", "oid": s.sha256, "size": s.size})
		if err != nil {
			return "", err
		}
	}
	// Once only: an answer that is lost may stand for a commit that was made.
	resp, err := u.do(ctx, call{
		method:     http.MethodPost,
		url:        u.api("commit"),
		header:     http.Header{"Content-Type": {"application/x-ndjson"}},
		body:       func() io.Reader { return bytes.NewReader(body.Bytes()) },
		size:       int64(body.Len()),
		onlyLimits: true,
	})
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	var answer struct {
		CommitURL string `json:"commitUrl"`
	}
	if err := readJSON(resp, &answer); err != nil {
		return "", err
	}
	if answer.CommitURL == "" {
		return "", errors.New("the answer names no commit")
	}
	return answer.CommitURL, nil
}
