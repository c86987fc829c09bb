package base

import (
	"context"
	"strings"

	"github.com/shannon-control/scu"
)

// DataScheme begins the address of a file of a Hub data set:
// "hf://datasets/owner/name/path", and "owner/name@revision" for another revision than
// the Hub's default.
const DataScheme = "hf://"

// DataFile fetches a file of a Hub data set, of at most limit bytes, and returns its
// path and its address with the commit that it is of.
func (b *Finder) DataFile(ctx context.Context, address string, limit int64) (path, pinned string, err error) {
	repo, revision, file, ok := splitDataAddress(address)
	switch {
	case !ok:
		return "", "", scu.Errorf(scu.CodeInvalid, "%.200q names no file of a data set", address).WithHint("write hf://datasets/owner/name/path, or owner/name@revision for a revision")
	case b.Hub == nil:
		return "", "", scu.Errorf(scu.CodeInvalid, "there is no Hub to read %.200q from here", address)
	}
	path, commit, err := b.Hub.DatasetFile(ctx, repo, revision, file, limit)
	if err != nil {
		return "", "", refusedByHub("data set "+repo, err, "")
	}
	return path, DataScheme + "datasets/" + repo + "@" + commit + "/" + file, nil
}

// splitDataAddress takes an address apart.
func splitDataAddress(address string) (repo, revision, file string, ok bool) {
	rest, ok := strings.CutPrefix(address, DataScheme+"datasets/")
	parts := strings.SplitN(rest, "/", 3)
	if !ok || len(parts) < 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return "", "", "", false
	}
	name, revision := Revision(parts[1])
	return parts[0] + "/" + name, revision, parts[2], true
}
