package base

import (
	"testing"

	"github.com/shannon-control/scu"
)

func TestDataAddresses(t *testing.T) {
	for address, want := range map[string][3]string{
		"hf://datasets/owner/name/train.jsonl":              {"owner/name", "", "train.jsonl"},
		"hf://datasets/owner/name@v1/data/train.parquet":    {"owner/name", "v1", "data/train.parquet"},
		"hf://datasets/owner/name@refs%2Fpr%2F1/data/a.csv": {"owner/name", "refs%2Fpr%2F1", "data/a.csv"},
	} {
		repo, revision, file, ok := splitDataAddress(address)
		if got := [3]string{repo, revision, file}; !ok || got != want {
			t.Errorf("%s: %q %v, want %q", address, got, ok, want)
		}
	}
	for _, address := range []string{"hf://owner/name/file", "hf://datasets/owner/name", "hf://datasets/owner/name/", "hf://datasets//name/x", "hf://spaces/a/b/c"} {
		if _, _, err := new(Finder).DataFile(t.Context(), address, 1); scu.CodeOf(err) != scu.CodeInvalid {
			t.Errorf("%s: %v", address, err)
		}
	}
}
