// Package web is the dashboard: one page of plain HTML, style sheets and ES modules, embedded
// as it is, without a build step. It loads nothing from elsewhere, and asks the API for
// everything that it shows.
//
// Its policy for browsers allows scripts and styles of its own alone, none of them inline,
// and forbids ever making HTML from a text (Trusted Types): what users wrote is shown as
// the text that it is.
package web

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"
)

//go:embed static
var static embed.FS

// Assets is the path below which the page's files are.
const Assets = "/assets/"

// file is one that is served: its bytes and what goes with them.
type file struct {
	body, contentType, policy, tag string
}

// Handler answers for the page, at /, and for its files, below [Assets].
func Handler() (http.Handler, error) {
	files := map[string]file{}
	root, err := fs.Sub(static, "static")
	if err != nil {
		return nil, err
	}
	err = fs.WalkDir(root, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		f := file{body: string(b), contentType: typeOf(name), tag: `"` + hex.EncodeToString(sum[:8]) + `"`}
		if name == "index.html" {
			f.policy = policy(f.body)
			files["/"] = f
			return nil
		}
		files[Assets+name] = f
		return nil
	})
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.contentType)
		h.Set("Cache-Control", "no-cache") // kept, and asked for again: an upgrade shows at once
		h.Set("ETag", f.tag)
		if f.policy != "" {
			h.Set("Content-Security-Policy", f.policy)
		}
		if r.Header.Get("If-None-Match") == f.tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Write([]byte(f.body))
	}), nil
}

// typeOf is a file's media type. The system's own table isn't asked: it may say anything.
func typeOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return mime.TypeByExtension(ext)
	}
	return "text/plain; charset=utf-8"
}

var importMap = regexp.MustCompile(`(?s)<script type="importmap">(.*?)</script>`)

// policy is the page's Content-Security-Policy. The import map, which browsers take inline
// alone, is allowed by its digest.
func policy(page string) string {
	scripts := "'self'"
	if m := importMap.FindStringSubmatch(page); m != nil {
		sum := sha256.Sum256([]byte(m[1]))
		scripts += " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return strings.Join([]string{
		"default-src 'none'", "script-src " + scripts, "style-src 'self'", "img-src 'self'", "connect-src 'self'",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'",
	}, "; ")
}
