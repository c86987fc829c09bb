package hub

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// Names come from users, from other people's index files and from servers, and become paths and
// URLs. They are checked here, by the rules of POSIX and Windows at once.

// checkRepo accepts "name" and "owner/name", as the Hub writes them.
func checkRepo(repo string) error {
	parts := strings.Split(repo, "/")
	if len(parts) > 2 || strings.Contains(repo, "--") || strings.Contains(repo, "..") || strings.HasSuffix(repo, ".git") {
		return fmt.Errorf("repository %q: %w: want \"name\" or \"owner/name\"", repo, ErrBadName)
	}
	for _, part := range parts {
		if len(part) == 0 || len(part) > 96 || strings.Trim(part, "-.") != part || strings.ContainsFunc(part, notRepoLetter) {
			return fmt.Errorf("repository %q: %w: letters, digits, '-', '_' and '.' only, at most 96, no '-' or '.' at either end", repo, ErrBadName)
		}
	}
	return nil
}

func notRepoLetter(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
}

// checkRevision accepts branches, tags, "refs/pr/1" and commits.
func checkRevision(revision string) error {
	if err := checkPath(revision); err != nil || len(revision) > 255 {
		return fmt.Errorf("revision %q: %w: want a branch, a tag or a commit", revision, ErrBadName)
	}
	return nil
}

// checkFile accepts a slash-separated path inside a repository.
func checkFile(file string) error {
	if err := checkPath(file); err != nil || len(file) > 1000 {
		return fmt.Errorf("file %q: %w: want a path inside the repository, with '/' between folders", file, ErrBadName)
	}
	return nil
}

func checkPath(path string) error {
	if strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || strings.ContainsRune(`\:*?"<>|`, r) }) {
		return ErrBadName
	}
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || part == ".git" || !filepath.IsLocal(part) {
			return ErrBadName
		}
	}
	return nil
}

// isCommit reports whether s is a full commit hash, which names one content for ever.
func isCommit(s string) bool { return len(s) == 40 && isHex(s) }

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }

// isETag reports whether a normalised etag can be a file's name: hashes, in practice.
func isETag(s string) bool {
	return s != "" && len(s) <= 128 && s[0] != '.' && !strings.ContainsFunc(s, notRepoLetter)
}

// escapePath escapes each part of a slash-separated path for a URL.
func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, part := range parts {
		parts[i] = url.PathEscape(part)
	}
	return strings.Join(parts, "/")
}

// withoutQuery gives a URL for messages: no query (signatures) and no user.
func withoutQuery(u *url.URL) string {
	short := *u
	short.RawQuery, short.Fragment, short.User = "", "", nil
	return short.String()
}
