package base

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What ends a text is one token or several, in either file; what is no token says
// nothing.
func TestEndTokens(t *testing.T) {
	for text, want := range map[string][]int32{
		`{"eos_token_id": 7}`:          {7},
		`{"eos_token_id": [7, 9]}`:     {7, 9},
		`{"eos_token_id": null}`:       nil,
		`{}`:                           nil,
		`{"eos_token_id": "</s>"}`:     nil,
		`{"eos_token_id": 3000000000}`: nil,
		`[`:                            nil,
	} {
		path := filepath.Join(t.TempDir(), "generation_config.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := endTokens(path); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}

// The end-of-text token comes from config.json first, and generation_config.json
// may name more tokens that end a text.
func TestOpenKnowsEnds(t *testing.T) {
	m, err := Open("../../models/bookworm-2m")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if !slices.Contains(m.Ends, m.EOS) || len(m.BOS) > 1 {
		t.Errorf("EOS %d, ends %v, BOS %v", m.EOS, m.Ends, m.BOS)
	}
}
