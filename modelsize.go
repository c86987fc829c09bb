package scu

import (
	"regexp"
	"strconv"
	"strings"
)

// ModelSize is how many parameters a base model has, and how that is known.
type ModelSize struct {
	Parameters int64  `json:"parameters"`
	Source     string `json:"source"` // SizeFrom...
}

// Where a model's size comes from, the surest first.
const (
	SizeFromCheckpoint = "checkpoint" // the headers of its weights
	SizeFromConfig     = "config"     // config.json
	SizeFromTable      = "table"      // known by name
	SizeFromName       = "name"       // a size in the name, as -1.5B
	SizeAssumed        = "assumed"    // none of these: 1 billion
)

// knownModel is a row of the table of models: its size in billions, and the target,
// rank and batch that were recommended for it when the controller was published.
type knownModel struct {
	name     string // part of the model's id, in lower case
	billions float64
	targetS  float64
	rank     int
	batch    int
}

var knownModels = []knownModel{
	{"gpt2", 0.124, 0.005, 8, 8},
	{"distilgpt2", 0.082, 0.005, 8, 16},
	{"microsoft/dialogpt", 0.124, 0.008, 8, 8},
	{"microsoft/dialogpt-medium", 0.355, 0.008, 16, 4},
	{"microsoft/dialogpt-large", 0.774, 0.01, 16, 2},
	{"facebook/blenderbot", 0.4, 0.01, 16, 4},
	{"facebook/blenderbot-3b", 3.0, 0.025, 32, 1},
	{"google/reformer-enwik8", 0.2, 0.008, 16, 4},
	{"eleutherai/gpt-neo", 0.125, 0.005, 8, 8},
	{"eleutherai/gpt-neo-1.3b", 1.3, 0.01, 16, 2},
	{"eleutherai/gpt-neo-2.7b", 2.7, 0.02, 32, 1},
	{"eleutherai/pythia", 0.7, 0.01, 16, 4},
	{"eleutherai/pythia-2.8b", 2.8, 0.02, 32, 1},
	{"stanford-crfm/biomedlm", 2.7, 0.02, 32, 1},
	{"llama-3.2-1", 1.0, 0.01, 16, 4},
	{"llama-3.2-3", 3.0, 0.02, 32, 2},
	{"llama-3.1-8", 8.0, 0.03, 64, 1},
	{"llama-3-70", 70.0, 0.05, 128, 1},
}

// known finds a model in the table. The longest name that the id contains wins, so
// that gpt-neo doesn't hide gpt-neo-2.7B.
func known(baseModel string) (best knownModel, ok bool) {
	id := strings.ToLower(baseModel)
	for _, m := range knownModels {
		if len(m.name) > len(best.name) && strings.Contains(id, m.name) {
			best, ok = m, true
		}
	}
	return best, ok
}

// sizeInName matches a size in a model's name: -1B, _1.5b, -350M.
var sizeInName = regexp.MustCompile(`(?i)[-_](\d+(?:\.\d+)?)([bm])(?:$|[-_./])`)

// SizeOf is what a model's name alone tells of its size.
func SizeOf(baseModel string) ModelSize {
	named, inName := sizeOfName(baseModel)
	if m, ok := known(baseModel); ok {
		size := int64(m.billions * 1e9)
		// A family's row stands for its smallest model: pythia-12b says itself that it isn't one.
		if inName && (named > 2*size || 2*named < size) {
			return ModelSize{named, SizeFromName}
		}
		return ModelSize{size, SizeFromTable}
	}
	if inName {
		return ModelSize{named, SizeFromName}
	}
	return ModelSize{1e9, SizeAssumed}
}

func sizeOfName(baseModel string) (int64, bool) {
	m := sizeInName.FindStringSubmatch(baseModel)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if err != nil || n <= 0 || n > 1e5 {
		return 0, false
	}
	if strings.EqualFold(m[2], "m") {
		n /= 1000
	}
	return int64(n * 1e9), true
}

// bySize is what the published recommendations amount to for a model that isn't in
// the table.
func bySize(parameters int64) knownModel {
	switch b := float64(parameters) / 1e9; {
	case b < 0.5:
		return knownModel{targetS: 0.007, rank: 8, batch: 8}
	case b < 1.5:
		return knownModel{targetS: 0.01, rank: 16, batch: 4}
	case b < 4:
		return knownModel{targetS: 0.02, rank: 32, batch: 2}
	case b < 10:
		return knownModel{targetS: 0.03, rank: 64, batch: 1}
	}
	return knownModel{targetS: 0.04, rank: 128, batch: 1}
}
