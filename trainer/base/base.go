// Package base finds and opens base models: what is frozen under an adapter.
package base

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/kernels"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/hub"
	"github.com/shannon-control/scu/trainer/lora"
	"github.com/shannon-control/scu/trainer/model"
	"github.com/shannon-control/scu/trainer/pyjson"
	"github.com/shannon-control/scu/trainer/safetensors"
	"github.com/shannon-control/scu/trainer/tokenizer"
)

// Finder finds base models: the built-in one, folders, and the Hugging Face Hub.
type Finder struct {
	Dir string      // where the built-in model is unpacked
	Hub *hub.Client // nil: no Hub

	// Folders hold model folders, one of which a name that the Hub doesn't know may have meant.
	Folders []string

	// Try runs a trial where it can be killed, and returns an error if it had to be. nil:
	// models are read without.
	Try func(context.Context, Trial) error
	// Contained refuses model folders with links that lead out of them.
	Contained bool

	shelf shelf // of opened models
}

// Revision splits the name of a Hub model, "owner/name@revision", where revision is a
// branch, a tag or a commit; without one it is "", the Hub's default.
func Revision(name string) (repo, revision string) {
	repo, revision, _ = strings.Cut(name, "@")
	return repo, revision
}

// Locate returns the folder of a base model. A Hub model, of which a revision may be
// named (see Revision), is downloaded unless cached.
func (b *Finder) Locate(ctx context.Context, name string) (string, error) {
	if name == models.BuiltIn {
		return b.extract()
	}
	if filepath.IsAbs(name) {
		if b.Contained {
			return name, contained(name)
		}
		return name, nil
	}
	if b.Hub == nil {
		return "", scu.Errorf(scu.CodeInvalid, "no model %q here", name).At("base_model")
	}
	repo, revision := Revision(name)
	dir, _, err := b.Hub.Snapshot(ctx, repo, revision)
	if err != nil {
		return "", b.hubError(name, err)
	}
	return dir, nil
}

// extract is models.Extract, which compares every byte, unless the files haven't been
// touched since it last did.
func (b *Finder) extract() (string, error) {
	if dir := filepath.Join(b.Dir, models.BuiltIn); b.shelf.extracted(dir) {
		return dir, nil
	}
	began := time.Now()
	dir, err := models.Extract(b.Dir)
	if err == nil {
		b.shelf.compared(dir, began)
	}
	return dir, err
}

// Describe opens a base model without its weights, which of a Hub model aren't
// fetched: Files is nil. A model whose files are as they were is not read again.
func (b *Finder) Describe(ctx context.Context, name string) (*Model, error) {
	dir, commit, err := b.describe(ctx, name)
	if err != nil {
		return nil, err
	}
	return b.shared(ctx, "described ", dir, func() (*Model, error) { return open(dir, commit, nil) })
}

// shared returns the model in a folder from the shelf, where it is of one kind, else tries
// and opens it.
func (b *Finder) shared(ctx context.Context, kind, dir string, open func() (*Model, error)) (*Model, error) {
	if m := b.shelf.borrow(kind + dir); m != nil {
		return m, nil
	}
	if err := b.try(ctx, Trial{Dir: dir}); err != nil {
		return nil, err
	}
	m, err := open()
	if err != nil {
		return nil, err
	}
	m.try = b.try
	return b.shelf.put(kind+dir, m), nil
}

// Outline opens and checks a base model as far as planning a run needs it: of a
// Hub model only the headers of the weights are fetched, and Files has no data. A model
// whose files are as they were is not read again.
func (b *Finder) Outline(ctx context.Context, name string) (*Model, error) {
	const kind = "outline "
	if name == models.BuiltIn { // opened since its files were compared, and unchanged since
		if m := b.shelf.borrow(kind + filepath.Join(b.Dir, name)); m != nil {
			return m, nil
		}
	}
	dir, commit, err := b.describe(ctx, name)
	if err != nil {
		return nil, err
	}
	return b.shared(ctx, kind, dir, func() (*Model, error) {
		if commit == "" {
			return Open(dir)
		}
		return open(dir, commit, func() (*safetensors.Model, error) {
			repo, _ := Revision(name)
			_, weights, err := b.Hub.Outline(ctx, repo, commit)
			if err != nil {
				return nil, b.hubError(name, err)
			}
			return weights, nil
		})
	})
}

// describe is Locate without a Hub model's weights; commit is "" where it isn't
// one.
func (b *Finder) describe(ctx context.Context, name string) (dir, commit string, err error) {
	if name == models.BuiltIn || filepath.IsAbs(name) || b.Hub == nil {
		dir, err = b.Locate(ctx, name)
		return dir, "", err
	}
	repo, revision := Revision(name)
	if dir, commit, err = b.Hub.Describe(ctx, repo, revision); err != nil {
		return "", "", b.hubError(name, err)
	}
	return dir, commit, nil
}

// hubError gives the Hub's refusals of a model our codes, and leads a misspelt name to the
// model here that it most likely meant.
func (b *Finder) hubError(name string, err error) error {
	const field = "base_model"
	refused := refusedByHub("model "+name, err, field)
	near := b.near(name)
	var e *scu.Error
	switch {
	case near == "" || !errors.As(refused, &e):
		return refused
	case errors.Is(err, hub.ErrUnreachable), errors.Is(err, hub.ErrOffline):
		e = scu.Errorf(e.Code, "no model %q here, and the Hugging Face Hub can't be asked for it", name).At(field)
	}
	return e.WithHint("did you mean %q?", near)
}

// refusedByHub gives the Hub's refusals our codes.
func refusedByHub(what string, err error, field string) error {
	code := scu.CodeInvalid
	var status *hub.StatusError
	var local *fs.PathError
	switch {
	case errors.Is(err, hub.ErrUnreachable), errors.Is(err, hub.ErrCorrupt), errors.Is(err, hub.ErrOffline),
		errors.As(err, &status) && (status.Status >= 500 || status.Status == http.StatusTooManyRequests):
		code = scu.CodeUnavailable
	case errors.Is(err, syscall.ENOSPC):
		code = scu.CodeStorage
	case errors.As(err, &local): // of the cache
		code = scu.CodeInternal
	case errors.Is(err, hub.ErrGated), errors.Is(err, hub.ErrUnauthorized), errors.Is(err, hub.ErrForbidden):
		code = scu.CodeForbidden
	case errors.Is(err, hub.ErrNoWeights):
		code = scu.CodeUnsupported
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return scu.Errorf(code, "%s: %w", what, err).At(field)
}

// Model is an opened base model: everything but its weights on a device.
type Model struct {
	Dir         string
	Commit      string // of a Hub model that Describe or Outline opened
	Spec        *model.Spec
	Weights     *safetensors.Model // nil, or without data, if Describe or Outline opened it
	Tokenizer   *tokenizer.Tokenizer
	TokenizerID string  // digest of its files
	EOS         int32   // ends a document
	BOS         []int32 // the tokenizer puts them before a text; mostly none
	Ends        []int32 // each of them ends a generated text; EOS is among them

	opened   listing   // the folder's files, see Unchanged
	began    time.Time // when reading them began
	types    func() func(name string) kernels.DType
	size     func() int64 // Parameters
	try      func(context.Context, Trial) error
	giveBack func() // ends the use of a model that others share; nil if nobody does
}

// Open opens and checks the model in a folder, reading headers only.
func Open(dir string) (*Model, error) {
	return open(dir, "", func() (*safetensors.Model, error) {
		files, err := safetensors.OpenModel(dir)
		if err != nil {
			return nil, scu.Errorf(scu.CodeInvalid, "the model's weights can't be read: %w", err).At("base_model")
		}
		return files, nil
	})
}

// open opens the model in a folder with the weights that a function gives once the
// architecture is known; nil for none.
func open(dir, commit string, weights func() (*safetensors.Model, error)) (*Model, error) {
	b := &Model{Dir: dir, Commit: commit, began: time.Now()}
	b.types = sync.OnceValue(func() func(string) kernels.DType { return model.Types(b.Spec, b.Weights) })
	b.size = sync.OnceValue(func() int64 { return b.Spec.Parameters() })
	b.opened, _ = list(dir) // before they are read; what is missing is told then
	if err := b.read(weights); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Model) read(weights func() (*safetensors.Model, error)) (err error) {
	if b.Spec, err = model.ReadSpec(b.Dir); err != nil {
		return Within("base_model", err)
	}
	if weights != nil {
		if b.Weights, err = weights(); err != nil {
			return err
		}
		if err = model.CheckFiles(b.Spec, b.Weights); err != nil {
			return Within("base_model", err)
		}
		if err = model.CheckTied(b.Spec, b.Weights); err != nil {
			return Within("base_model", err)
		}
	}
	if b.Tokenizer, err = tokenizer.Load(b.Dir); err != nil {
		e := scu.Errorf(scu.CodeInvalid, "the model's tokenizer can't be read: %w", err).At("base_model")
		e.Message = strings.ReplaceAll(e.Message, b.Dir, "its folder") // a place of the server's is nothing to its users
		return e
	}
	b.TokenizerID = tokenizerDigest(b.Dir)
	if n := b.Tokenizer.VocabSize(); n > b.Spec.Vocab {
		return scu.Errorf(scu.CodeInvalid, "the tokenizer has ids up to %d, the model a vocabulary of %d: they don't belong together", n-1, b.Spec.Vocab).At("base_model")
	}
	if b.EOS, err = endOfText(b.Dir, b.Tokenizer, b.Spec.Vocab); err != nil {
		return Within("base_model", err)
	}
	b.BOS = b.Tokenizer.Before()
	b.Ends = append(endTokens(filepath.Join(b.Dir, "generation_config.json")), b.EOS)
	return nil
}

// Close ends the mapping of the weights, unless others use it.
func (b *Model) Close() {
	if b.giveBack != nil {
		b.giveBack()
		return
	}
	if b.Weights != nil {
		b.Weights.Close()
	}
}

// Modules plans the adapter that cfg asks for.
func (b *Model) Modules(cfg scu.LoRAConfig) ([]lora.Module, error) {
	return lora.Plan(b.Spec.Targets(), b.Spec.DefaultTargets, cfg)
}

// Types gives the type of each matrix of the model by its tensor's name. For a
// model with Files.
func (b *Model) Types() func(name string) kernels.DType { return b.types() }

// Parameters is the number of weights the model computes with.
func (b *Model) Parameters() int64 { return b.size() }

// FitBlock clamps the default block size to the model's positions; one that the
// user asked for and that is longer is an error.
func (b *Model) FitBlock(cfg *scu.Config) error {
	if cfg.BlockSize <= b.Spec.Positions {
		return nil
	}
	if cfg.Asked("block_size") {
		return scu.Errorf(scu.CodeInvalid, "%d is longer than the model's %d positions", cfg.BlockSize, b.Spec.Positions).
			At("block_size").WithHint("leave it out, or lower it")
	}
	cfg.BlockSize = b.Spec.Positions
	return nil
}

// OpenData reads the file at path into blocks for this model, as training does.
// name is what the user called it. cache keeps the blocks for the next time; it
// needs fileID, the digest of the file.
func (b *Model) OpenData(ctx context.Context, path, name string, cfg *scu.Config, cache data.Cache, fileID string) (*data.Dataset, *data.Report, error) {
	if b.try != nil {
		if err := b.try(ctx, Trial{Dir: b.Dir, Data: &TrialData{Path: path, Name: name, FileID: fileID, Config: *cfg, Cache: cache}}); err != nil {
			return nil, nil, err
		}
	}
	template, err := data.LoadChatTemplate(b.Dir)
	if err != nil {
		return nil, nil, Within("base_model", err)
	}
	return data.Open(ctx, path, name, b.Tokenizer, data.Options{
		BlockSize: cfg.BlockSize, EOS: b.EOS, BOS: b.BOS, TextDocuments: cfg.TextDocuments, Packing: cfg.Packing, TrainOn: cfg.TrainOn, Template: template,
		Cache: cache, FileID: fileID, TokenizerID: b.TokenizerID,
	})
}

// CheckData says what becomes of the data file at path in training, with a preview
// of the first blocks, all of them where preview is below 0. That the data is
// refused is part of the answer, not an error.
func (b *Model) CheckData(ctx context.Context, path, name string, cfg scu.Config, preview int) (out scu.DataCheck, err error) {
	if err := b.FitBlock(&cfg); err != nil {
		return out, err
	}
	set, report, err := b.OpenData(ctx, path, name, &cfg, data.Cache{}, "")
	if err != nil {
		if report == nil || len(report.Refused) == 0 {
			return out, err
		}
		return scu.DataCheck{BlockSize: cfg.BlockSize, Report: report.DataReport, Error: scu.AsError(err)}, nil
	}
	defer set.Close()
	if preview < 0 {
		preview = set.Blocks()
	}
	out = scu.DataCheck{BlockSize: cfg.BlockSize, Report: report.DataReport}
	out.Preview, err = set.Preview(preview, b.Tokenizer)
	return out, err
}

// Within says of which field an error speaks, where it doesn't.
func Within(field string, err error) error {
	var e *scu.Error
	if errors.As(err, &e) && e.Field == "" {
		return e.At(field)
	}
	return err
}

// endOfText is the token that follows each document: the first eos_token_id of
// config.json, else of generation_config.json, else the eos_token that
// tokenizer_config.json or special_tokens_map.json names.
func endOfText(dir string, tok *tokenizer.Tokenizer, vocab int) (int32, error) {
	for _, file := range []string{"config.json", "generation_config.json"} {
		ids := endTokens(filepath.Join(dir, file))
		if len(ids) == 0 {
			continue
		}
		if id := ids[0]; id < 0 || int(id) >= vocab {
			return 0, scu.Errorf(scu.CodeInvalid, "%s: eos_token_id %d is outside the vocabulary of %d", file, id, vocab)
		}
		return ids[0], nil
	}
	for _, file := range []string{tokenizerConfigFile, specialTokensFile} {
		var c struct {
			Token json.RawMessage `json:"eos_token"`
		}
		if !readJSON(filepath.Join(dir, file), &c) {
			continue
		}
		var text string
		var object struct{ Content string }
		if json.Unmarshal(c.Token, &text) != nil && json.Unmarshal(c.Token, &object) == nil {
			text = object.Content
		}
		if id, ok := tok.TokenToID(text); ok && text != "" {
			return id, nil
		}
	}
	return 0, scu.Errorf(scu.CodeInvalid, "the model names no end-of-text token").WithHint("set eos_token_id in config.json")
}

// endTokens are the eos_token_id of a configuration file, one or several; none
// where it names none.
func endTokens(path string) (ids []int32) {
	var c struct {
		ID json.RawMessage `json:"eos_token_id"`
	}
	if !readJSON(path, &c) || json.Unmarshal(c.ID, &ids) == nil {
		return ids
	}
	var id int32
	if json.Unmarshal(c.ID, &id) != nil {
		return nil
	}
	return []int32{id}
}

// tokenizerDigest names what the tokenizer in a folder makes of a text.
func tokenizerDigest(dir string) string {
	h := sha256.New()
	for _, name := range TokenizerFiles {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil {
			fmt.Fprintf(h, "%s %d ", name, len(b))
			h.Write(b)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// readJSON reads a small optional file; a missing or broken one says nothing.
func readJSON(path string, v any) bool {
	info, err := os.Stat(path)
	if err != nil || info.Size() > 16<<20 {
		return false
	}
	b, err := os.ReadFile(path)
	return err == nil && json.Unmarshal(pyjson.Standard(b), v) == nil
}
