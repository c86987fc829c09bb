package safetensors

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// SingleFile is the name of a checkpoint that is one file.
	SingleFile = "model.safetensors"
	// IndexFile is the name of the list of shards of a checkpoint that is several.
	IndexFile = "model.safetensors.index.json"
)

// Model is a checkpoint folder's tensors, in one file or in shards, under one set of lookups.
type Model struct {
	files []*File
	owner map[string]*File // tensor -> the file that holds it
}

// OpenModel opens dir/model.safetensors or else the shards that dir/model.safetensors.index.json
// names (files of dir itself only). Every tensor of the index is checked to be in its shard.
// A folder with neither gives an error that is fs.ErrNotExist.
func OpenModel(dir string) (*Model, error) {
	single, err := Open(filepath.Join(dir, SingleFile))
	if err == nil {
		m := &Model{files: []*File{single}, owner: map[string]*File{}}
		for _, name := range single.Names() {
			m.owner[name] = single
		}
		return m, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	shards, err := readIndex(filepath.Join(dir, IndexFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("safetensors: %s holds neither %s nor %s: %w", dir, SingleFile, IndexFile, fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	m := &Model{owner: map[string]*File{}}
	if err := m.openShards(dir, shards); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// openShards opens each shard once and finds the index's tensors (name -> shard) in them.
func (m *Model) openShards(dir string, shards map[string]string) error {
	open := map[string]*File{}
	for _, tensor := range sortedKeys(shards) {
		shard := shards[tensor]
		f := open[shard]
		if f == nil {
			var err error
			if f, err = Open(filepath.Join(dir, shard)); err != nil {
				return err
			}
			open[shard] = f
			m.files = append(m.files, f)
		}
		if _, ok := f.Tensor(tensor); !ok {
			return inFile(filepath.Join(dir, shard), badTensor(tensor, "not here, though %s says so", IndexFile))
		}
		m.owner[tensor] = f
	}
	return nil
}

// ShardNames reads an index (the content of model.safetensors.index.json) and lists the shards
// it names, sorted. Each is a plain file name ending in .safetensors: no folder, no "..".
func ShardNames(index []byte) ([]string, error) {
	shards, err := parseIndex(index)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, shard := range shards {
		names[shard] = true
	}
	return sortedKeys(names), nil
}

// readIndex gives tensor -> shard.
func readIndex(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxHeader+1))
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	shards, err := parseIndex(text)
	if err != nil {
		return nil, inFile(path, err)
	}
	return shards, nil
}

func parseIndex(text []byte) (map[string]string, error) {
	if len(text) > maxHeader {
		return nil, badFile("the index is longer than %d bytes", maxHeader)
	}
	var index struct {
		WeightMap map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, badFile("the index is not valid: %v", err)
	}
	if len(index.WeightMap) == 0 {
		return nil, badFile("the index has no weight_map")
	}
	for tensor, shard := range index.WeightMap {
		if strings.ContainsAny(shard, `/\:`) || !filepath.IsLocal(shard) || !strings.HasSuffix(shard, ".safetensors") {
			return nil, badTensor(tensor, "shard %q is not the name of a .safetensors file beside the index", shard)
		}
	}
	return index.WeightMap, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// Names lists the tensors of all files, sorted.
func (m *Model) Names() []string { return sortedKeys(m.owner) }

// Tensor finds a tensor by name, in whichever file it is.
func (m *Model) Tensor(name string) (Tensor, bool) {
	f, ok := m.owner[name]
	if !ok {
		return Tensor{}, false
	}
	return f.Tensor(name)
}

// Close closes every file; views of their data are invalid from then on.
func (m *Model) Close() error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
