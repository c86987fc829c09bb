package api

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/shannon-control/scu"
)

// folders are those that paths from requests may lie below. A path is resolved,
// links and all, before it is compared; the file is then opened through os.Root,
// so that a link that is planted meanwhile leads nowhere either.
type folders struct {
	given    []string // absolute
	resolved []string // the same with links resolved
	private  []string // resolved; excepted
}

func newFolders(dirs, private []string) (folders, error) {
	var f folders
	for _, d := range dirs {
		abs, err := filepath.Abs(d)
		if err != nil {
			return f, err
		}
		real, err := filepath.EvalSymlinks(abs)
		if err != nil {
			return f, err
		}
		if info, err := os.Stat(real); err != nil || !info.IsDir() {
			return f, fmt.Errorf("%s is not a folder", d)
		}
		f.given, f.resolved = append(f.given, abs), append(f.resolved, real)
	}
	for _, d := range private {
		abs, err := filepath.Abs(d)
		if err != nil {
			return f, err
		}
		if real, err := filepath.EvalSymlinks(abs); err == nil {
			abs = real
		}
		f.private = append(f.private, abs)
	}
	return f, nil
}

// below reports whether path is dir or lies below it; both are clean and absolute.
func below(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

func anyBelow(dirs []string, path string) (string, bool) {
	for _, d := range dirs {
		if below(d, path) {
			return d, true
		}
	}
	return "", false
}

// outside is the one answer for every path that isn't allowed, there or not.
func outside() *scu.Error {
	return scu.Errorf(scu.CodeForbidden, "the path is outside the folders that this server reads").
		WithHint("upload the file with POST /files, or add its folder to SCU_DATA_DIRS on the server")
}

// resolve takes a path as a user wrote it to an allowed folder and the path below
// it. Relative paths are relative to base.
func (f folders) resolve(base, named string) (dir, rel string, err error) {
	if strings.ContainsRune(named, 0) {
		return "", "", scu.Errorf(scu.CodeInvalid, "the path contains a NUL character")
	}
	path := filepath.Clean(named)
	if !filepath.IsAbs(path) {
		path = filepath.Join(base, path)
	}
	if _, own := anyBelow(f.private, path); own {
		return "", "", outside()
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		// Only of what is below a folder by its very name may be told that it
		// isn't there.
		if _, ok := anyBelow(append(f.given, f.resolved...), path); !ok {
			return "", "", outside()
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return "", "", scu.Errorf(scu.CodeInvalid, "no such file on the server").WithHint("upload it with POST /files")
		}
		return "", "", scu.Errorf(scu.CodeInvalid, "the path can't be followed")
	}
	if _, own := anyBelow(f.private, real); own {
		return "", "", outside()
	}
	dir, ok := anyBelow(f.resolved, real)
	if !ok {
		return "", "", outside()
	}
	rel, err = filepath.Rel(dir, real)
	return dir, rel, err
}

// openFile opens a regular file below the folders that isn't hidden.
func (f folders) openFile(named string) (*os.File, error) {
	if len(f.given) == 0 {
		return nil, outside()
	}
	dir, rel, err := f.resolve(f.given[0], named)
	if err != nil {
		return nil, err
	}
	if hidden(rel) {
		return nil, outside()
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, unreadable(err)
	}
	defer root.Close()
	// Without O_NONBLOCK a fifo would keep the request for ever.
	file, err := root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, unreadable(err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = scu.Errorf(scu.CodeInvalid, "the path is not a regular file").WithHint("name a text or JSONL file")
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// hidden reports whether a part of a path below a folder begins with a dot. Nobody
// keeps training data so, but keys and passwords: .ssh, .env, .netrc.
func hidden(rel string) bool {
	for part := range strings.SplitSeq(filepath.ToSlash(rel), "/") {
		if part != "." && strings.HasPrefix(part, ".") {
			return true
		}
	}
	return false
}

func unreadable(err error) error {
	return scu.Errorf(scu.CodeInvalid, "the file can't be read on the server: %w", withoutPath(err)).WithHint("upload it with POST /files")
}

// withoutPath takes the server's path out of a system's error.
func withoutPath(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// findFolder returns the resolved path of a folder below the folders. Relative
// paths are tried below each.
func (f folders) findFolder(named string) (string, error) {
	bases := f.given
	if filepath.IsAbs(named) && len(bases) > 0 {
		bases = bases[:1]
	}
	err := error(outside())
	for i, base := range bases {
		var dir, rel string
		var e error
		if dir, rel, e = f.resolve(base, named); e != nil {
			if i == 0 {
				err = e
			}
			continue
		}
		path := filepath.Join(dir, rel)
		if info, e := os.Stat(path); e != nil || !info.IsDir() {
			return "", scu.Errorf(scu.CodeInvalid, "the path is not a folder").WithHint("name the folder that holds config.json")
		}
		return path, nil
	}
	return "", err
}
