package base

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/data"
	"github.com/shannon-control/scu/trainer/tokenizer"
)

// Trial is what is done with a model that others made before it is trusted to end: its
// tokenizer and its chat template are programs of a kind, which may run for ever or take
// any memory. Whoever runs it in a process of its own can kill that.
type Trial struct {
	Dir  string     // the model's folder
	Data *TrialData // a file to read with it; nil: the model alone is read
}

// TrialData is a file of data, as [Model.OpenData] takes it.
type TrialData struct {
	Path, Name, FileID string
	Config             scu.Config
	Cache              data.Cache
}

// Run does all that reading the model, or the data with it, does. enter is told of each
// step before it begins. What is wrong with the files is no matter: who reads them next
// tells.
func (t Trial) Run(ctx context.Context, enter func(step string)) {
	enter("tokenizer.json")
	tokenizer.Load(t.Dir)
	enter("the chat template")
	data.LoadChatTemplate(t.Dir)
	enter("config.json and weights")
	m, err := open(t.Dir, "", nil)
	if t.Data == nil {
		if outline, err := Open(t.Dir); err == nil {
			outline.Close()
		}
	}
	if err != nil {
		return
	}
	defer m.Close()
	if d := t.Data; d != nil {
		enter("tokenizer.json and chat template on " + d.Name)
		if set, _, err := m.OpenData(ctx, d.Path, d.Name, &d.Config, d.Cache, d.FileID); err == nil {
			set.Close()
		}
	}
}

// try runs a trial of a model that isn't the built-in one.
func (b *Finder) try(ctx context.Context, t Trial) error {
	if b.Try == nil || t.Dir == filepath.Join(b.Dir, models.BuiltIn) {
		return nil
	}
	return b.Try(ctx, t)
}

// Open is [Open] for a folder that Locate gave, after a trial.
func (b *Finder) Open(ctx context.Context, dir string) (*Model, error) {
	if err := b.try(ctx, Trial{Dir: dir}); err != nil {
		return nil, err
	}
	m, err := Open(dir)
	if err == nil {
		m.try = b.try
	}
	return m, err
}

// contained refuses a folder with a link that leads out of it: its files end up in
// adapters. The Hub's cache keeps a snapshot's files beside it, in the same model's folder.
func contained(dir string) error {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil // who opens it tells
	}
	if up := filepath.Dir(root); filepath.Base(up) == "snapshots" {
		root = filepath.Dir(up)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, entry := range entries {
		name := entry.Name()
		if entry.Type()&os.ModeSymlink == 0 {
			continue
		}
		to, err := filepath.EvalSymlinks(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue // leads nowhere
		}
		if rel, e := filepath.Rel(root, to); err != nil || e != nil || !filepath.IsLocal(rel) {
			return scu.Errorf(scu.CodeForbidden, "%.100q of the model's folder is a link that leads out of it", name).
				At("base_model").WithHint("copy the file into the folder")
		}
	}
	return nil
}
