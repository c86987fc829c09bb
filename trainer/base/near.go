package base

import (
	"os"
	"path"
	"path/filepath"

	"github.com/agnivade/levenshtein"

	"github.com/shannon-control/scu/models"
)

// near returns the model here, built in or a folder below b.Folders, whose name is most
// like that of a model that wasn't found; "" if none is.
func (b *Finder) near(name string) (best string) {
	repo, _ := Revision(name)
	last := path.Base(repo)
	least := 1 + min(len(last)/4, 3) // this many letters make another name
	consider := func(known string) {
		if n := levenshtein.ComputeDistance(last, known); n < least {
			best, least = known, n
		}
	}
	consider(models.BuiltIn)
	for _, dir := range b.Folders {
		entries, _ := os.ReadDir(dir) // one that can't be read has nothing to offer
		for _, e := range entries {
			if info, err := os.Stat(filepath.Join(dir, e.Name(), "config.json")); err == nil && info.Mode().IsRegular() {
				consider(e.Name())
			}
		}
	}
	return best
}
