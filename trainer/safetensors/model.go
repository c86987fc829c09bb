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
		return modelOf(single), nil
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
	return modelOfShards(shards, func(shard string) (*File, error) { return Open(filepath.Join(dir, shard)) })
}

// Outline is a checkpoint of which only the headers are known, as ReadHeader gives them: Tensor
// finds types and shapes, and no Data. headers are by the files' names; index is the content of
// model.safetensors.index.json, nil for a checkpoint of one file.
func Outline(headers map[string]*Header, index []byte) (*Model, error) {
	outline := func(name string) (*File, error) {
		h := headers[name]
		if h == nil {
			return nil, inFile(name, badFile("its header is missing"))
		}
		f := newFile(h)
		f.outline = true
		return f, nil
	}
	if index == nil {
		single, err := outline(SingleFile)
		if err != nil {
			return nil, err
		}
		return modelOf(single), nil
	}
	shards, err := parseIndex(index)
	if err != nil {
		return nil, inFile(IndexFile, err)
	}
	return modelOfShards(shards, outline)
}

// modelOf is the checkpoint of one file.
func modelOf(single *File) *Model {
	m := &Model{files: []*File{single}, owner: map[string]*File{}}
	for name := range single.index {
		m.owner[name] = single
	}
	return m
}

// modelOfShards opens each shard once and finds the index's tensors (name -> shard) in them.
func modelOfShards(shards map[string]string, open func(shard string) (*File, error)) (*Model, error) {
	m := &Model{owner: map[string]*File{}}
	opened := map[string]*File{}
	for _, tensor := range sortedKeys(shards) {
		shard := shards[tensor]
		f := opened[shard]
		if f == nil {
			var err error
			if f, err = open(shard); err != nil {
				return nil, errors.Join(err, m.Close())
			}
			opened[shard] = f
			m.files = append(m.files, f)
		}
		if _, ok := f.Tensor(tensor); !ok {
			return nil, errors.Join(inFile(shard, badTensor(tensor, "not here, though %s says so", IndexFile)), m.Close())
		}
		m.owner[tensor] = f
	}
	return m, nil
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
