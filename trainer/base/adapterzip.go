package base

import (
	"archive/zip"
	"context"
	"errors"
	"io"
	"os"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/hub"
	"github.com/shannon-control/scu/trainer/lora"
)

// AdapterFiles are the files of an adapter's folder that count: PEFT's two, and how it
// was trained, which adapters of other programs don't have.
var AdapterFiles = []string{lora.ConfigFile, lora.WeightsFile, TrainingFile}

// AdapterZip fetches an adapter of the Hub, "owner/name" or "owner/name@revision", and
// writes a zip of its files to w. None may have more than limit bytes. It returns the
// name with the commit.
func (b *Finder) AdapterZip(ctx context.Context, name string, limit int64, w io.Writer) (pinned string, err error) {
	if b.Hub == nil {
		return "", scu.Errorf(scu.CodeInvalid, "there is no Hub to read %.200q from here", name)
	}
	repo, revision := Revision(name)
	z := zip.NewWriter(w)
	for _, file := range AdapterFiles {
		path, commit, err := b.Hub.ModelFile(ctx, repo, revision, file, limit)
		if file == TrainingFile && (errors.Is(err, hub.ErrEntryNotFound) || errors.Is(err, hub.ErrOffline)) {
			continue
		}
		if err != nil {
			return "", refusedByHub("adapter "+repo, err, "from_adapter")
		}
		revision = commit // all files are of one
		if err := addFile(z, file, path); err != nil {
			return "", err
		}
	}
	return repo + "@" + revision, z.Close()
}

// ZipAdapter writes a zip of the files of an adapter's folder to w.
func ZipAdapter(w io.Writer, dir string) error {
	z := zip.NewWriter(w)
	for _, file := range AdapterFiles {
		err := addFile(z, file, dir+string(os.PathSeparator)+file)
		if err != nil && !(errors.Is(err, os.ErrNotExist) && file == TrainingFile) {
			return err
		}
	}
	return z.Close()
}

func addFile(z *zip.Writer, name, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
	if err != nil {
		return err
	}
	_, err = io.Copy(w, in)
	return err
}
