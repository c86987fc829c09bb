package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/shannon-control/scu/trainer/safetensors"
)

const (
	maxShards = 2000
	parallel  = 4 // shards at a time
)

// What a model is made of. The weights are model.safetensors, or its index and shards.
const (
	configFile    = "config.json"
	tokenizerFile = "tokenizer.json"
)

// besides are the files that a model may have besides its configuration, tokenizer and weights.
var besides = []string{
	"tokenizer_config.json",
	"special_tokens_map.json",
	"added_tokens.json",
	"chat_template.jinja",
	"generation_config.json",
}

// legacyTokenizer are the files of a byte-level BPE from before tokenizer.json.
var legacyTokenizer = []string{"vocab.json", "merges.txt"}

// Snapshot brings a model into the cache and returns the folder with its files and the commit
// that they are of: config.json, the tokenizer's files, generation_config.json and the
// safetensors weights, as far as the repository has them. Configuration and weights are required.
//
// The revision is a branch, a tag or a commit; "" means main. What is cached is not fetched
// again, and a cached commit needs no network. When the Hub cannot be asked what a branch points
// to, or refuses to say, the commit that it pointed to last is used if it is cached.
//
// Errors wrap one of the Err values where one fits.
func (c *Client) Snapshot(ctx context.Context, repo, revision string) (dir, commit string, err error) {
	return c.fetchModel(ctx, repo, revision, func(ctx context.Context, s *snapshot) error { return s.weights(ctx) })
}

// Describe is Snapshot without the weights: enough to know what a model is and to tokenise for
// it, at the cost of a few small files.
func (c *Client) Describe(ctx context.Context, repo, revision string) (dir, commit string, err error) {
	return c.fetchModel(ctx, repo, revision, func(context.Context, *snapshot) error { return nil })
}

// fetchModel fetches everything but the weights, which are left to a function.
func (c *Client) fetchModel(ctx context.Context, repo, revision string, weights func(context.Context, *snapshot) error) (dir, commit string, err error) {
	if revision == "" {
		revision = "main"
	}
	if err := errors.Join(checkRepo(repo), checkRevision(revision)); err != nil {
		return "", "", fmt.Errorf("hub: %w", err)
	}
	if c.CacheDir == "" {
		return "", "", errors.New("hub: no cache folder: set HF_HOME or HF_HUB_CACHE")
	}
	s := &snapshot{Client: c, cache: c.cache(repo), repo: repo, offline: c.Offline}
	if err = s.describe(ctx, revision); err == nil {
		err = weights(ctx, s)
	}
	if err != nil {
		return "", "", fmt.Errorf("hub: %s at %s: %w", repo, revision, err)
	}
	return s.cache.snapshot(s.commit), s.commit, nil
}

// snapshot is one call of Snapshot.
type snapshot struct {
	*Client
	cache   repoCache
	repo    string
	commit  string
	offline bool // no network: by the user's wish, or because it has just failed
	cached  bool // the cache holds what is needed to run the model
}

// describe fetches everything but the weights.
func (s *snapshot) describe(ctx context.Context, revision string) error {
	if err := s.resolve(ctx, revision); err != nil {
		return err
	}
	if err := s.require(ctx, configFile); err != nil {
		return err
	}
	found, err := s.fetch(ctx, tokenizerFile)
	if err != nil {
		return err
	}
	optional := besides
	if !found {
		optional = slices.Concat(legacyTokenizer, besides)
	}
	for _, file := range optional {
		if _, err := s.fetch(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// resolve finds the commit of a revision.
func (s *snapshot) resolve(ctx context.Context, revision string) error {
	known := revision
	if !isCommit(revision) {
		known = s.cache.commit(revision)
	}
	s.use(known)
	switch {
	case isCommit(revision):
		return nil
	case s.offline && known == "":
		return ErrOffline
	case s.offline:
		return nil
	}
	// Any file would do to ask for the commit. A model in the cache is as good as an answer, so
	// then the question is put once only.
	info, err := s.head(ctx, s.repo, revision, configFile, s.cached)
	switch {
	case err == nil:
		s.use(info.commit)
		return s.cache.setCommit(revision, info.commit)
	case s.cached && ctx.Err() == nil && !definite(err):
		s.offline = true
		return nil
	default:
		return fmt.Errorf("%s: %w", configFile, err)
	}
}

// use sets the commit and looks whether its model is in the cache.
func (s *snapshot) use(commit string) {
	s.commit, s.cached = commit, false
	if commit == "" || !s.cache.has(commit, configFile) {
		return
	}
	if !s.cache.has(commit, tokenizerFile) && !s.cache.has(commit, legacyTokenizer[0]) {
		return
	}
	if !s.cache.has(commit, safetensors.SingleFile) {
		shards, err := s.shards()
		if err != nil {
			return
		}
		for _, shard := range shards {
			if !s.cache.has(commit, shard) {
				return
			}
		}
	}
	s.cached = true
}

// weights fetches model.safetensors or the index and its shards.
func (s *snapshot) weights(ctx context.Context) error {
	found, err := s.fetch(ctx, safetensors.SingleFile)
	if found || err != nil {
		return err
	}
	shards, err := s.index(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for _, shard := range shards {
		group.Go(func() error { return s.require(ctx, shard) })
	}
	return group.Wait()
}

// index fetches the list of shards and gives their names.
func (s *snapshot) index(ctx context.Context) ([]string, error) {
	found, err := s.fetch(ctx, safetensors.IndexFile)
	switch {
	case err != nil:
		return nil, err
	case !found && s.offline:
		return nil, fmt.Errorf("%s: %w", safetensors.SingleFile, ErrOffline)
	case !found:
		return nil, ErrNoWeights
	}
	return s.shards()
}

// shards lists the shards that the commit's index names.
func (s *snapshot) shards() ([]string, error) {
	index, err := os.ReadFile(s.cache.pointer(s.commit, safetensors.IndexFile))
	if err != nil {
		return nil, err
	}
	shards, err := safetensors.ShardNames(index)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", safetensors.IndexFile, err)
	}
	if len(shards) > maxShards {
		return nil, fmt.Errorf("%s: %d shards are more than %d", safetensors.IndexFile, len(shards), maxShards)
	}
	return shards, nil
}

// require is fetch for a file that must be there.
func (s *snapshot) require(ctx context.Context, file string) error {
	found, err := s.fetch(ctx, file)
	if err != nil || !found {
		return s.missing(file, err)
	}
	return nil
}

// missing is the error of a file that must be there; err, where there is one, says why it isn't.
func (s *snapshot) missing(file string, err error) error {
	switch {
	case err != nil:
		return err
	case s.offline:
		return fmt.Errorf("%s: %w", file, ErrOffline)
	}
	return fmt.Errorf("%s: %w", file, ErrEntryNotFound)
}

// fetch makes sure that the commit's file is in the cache, and reports whether there is one.
func (s *snapshot) fetch(ctx context.Context, file string) (found bool, err error) {
	if err := checkFile(file); err != nil {
		return false, err
	}
	if s.cache.has(s.commit, file) {
		return true, nil
	}
	info, found, err := s.ask(ctx, file)
	if err != nil || !found {
		return false, err
	}
	if err := s.download(ctx, s.repo, file, info); err != nil {
		return false, fmt.Errorf("%s: %w", file, err)
	}
	return true, nil
}

// ask reports whether the commit has a file that isn't in the cache, and what the Hub says of it.
func (s *snapshot) ask(ctx context.Context, file string) (info fileInfo, found bool, err error) {
	if s.offline || s.cache.isMissing(s.commit, file) {
		return info, false, nil
	}
	info, err = s.head(ctx, s.repo, s.commit, file, s.cached)
	switch {
	case errors.Is(err, ErrEntryNotFound):
		s.cache.markMissing(s.commit, file) // saves a question next time: no loss where it cannot be written
		return info, false, nil
	case err != nil && s.cached && ctx.Err() == nil && !definite(err):
		s.offline = true // a cached model that lacks only what may not exist
		return info, false, nil
	case err != nil:
		return info, false, fmt.Errorf("%s: %w", file, err)
	case info.commit != s.commit:
		return info, false, fmt.Errorf("%s: the Hub answers with commit %s instead of %s", file, info.commit, s.commit)
	}
	return info, true, nil
}
