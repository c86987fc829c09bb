package hub

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// datasets stands before a data set's name where a model's has nothing, in URLs as in
// the names of this package.
const datasets = "datasets/"

// DatasetFile brings one file of a data set, of at most limit bytes, into the cache and
// returns its path and the commit that it is of. repo is "owner/name" or "name"; the
// revision is a branch, a tag or a commit, "" for main. What is cached is not fetched
// again, and a cached commit needs no network. When the Hub can't be asked what a branch
// points to, the commit that it pointed to last is used if the file is cached.
//
// Errors wrap one of the Err values where one fits.
func (c *Client) DatasetFile(ctx context.Context, repo, revision, file string, limit int64) (path, commit string, err error) {
	return c.oneFile(ctx, datasets, repo, revision, file, limit)
}

// ModelFile is DatasetFile for a model's repository, as adapters have.
func (c *Client) ModelFile(ctx context.Context, repo, revision, file string, limit int64) (path, commit string, err error) {
	return c.oneFile(ctx, "", repo, revision, file, limit)
}

// oneFile brings one file of a repository of a kind, datasets or models (""), into the
// cache.
func (c *Client) oneFile(ctx context.Context, kind, repo, revision, file string, limit int64) (path, commit string, err error) {
	if revision == "" {
		revision = "main"
	}
	if err := errors.Join(checkRepo(repo), checkRevision(revision), checkFile(file)); err != nil {
		return "", "", fmt.Errorf("hub: %w", err)
	}
	if c.CacheDir == "" {
		return "", "", errors.New("hub: no cache folder: set HF_HOME or HF_HUB_CACHE")
	}
	if commit, err = c.fetchFile(ctx, kind+repo, revision, file, limit); err != nil {
		return "", "", fmt.Errorf("hub: %s%s at %s: %s: %w", kind, repo, revision, file, err)
	}
	return c.cache(kind+repo).pointer(commit, file), commit, nil
}

func (c *Client) fetchFile(ctx context.Context, repo, revision, file string, limit int64) (commit string, err error) {
	cache := c.cache(repo)
	known := revision
	if !isCommit(revision) {
		known = cache.commit(revision)
	}
	cached := known != "" && cache.has(known, file)
	switch {
	case cached && (isCommit(revision) || c.Offline):
		return known, nil
	case c.Offline:
		return "", ErrOffline
	}
	info, err := c.head(ctx, repo, revision, file, cached)
	switch {
	case err != nil && cached && ctx.Err() == nil && !definite(err):
		return known, nil
	case err != nil:
		return "", err
	case info.size > limit:
		return "", fmt.Errorf("%d bytes, more than the %d allowed", info.size, limit)
	}
	if err := cache.setCommit(revision, info.commit); err != nil {
		return "", err
	}
	if cache.has(info.commit, file) {
		return info.commit, nil
	}
	info.limit = limit
	return info.commit, c.download(ctx, repo, file, info)
}

// repoFolder is a repository's folder in the cache.
func repoFolder(repo string) string {
	kind := "models"
	if name, ok := strings.CutPrefix(repo, datasets); ok && strings.Count(repo, "/") == 2 {
		kind, repo = "datasets", name
	}
	return kind + "--" + strings.ReplaceAll(repo, "/", "--")
}
