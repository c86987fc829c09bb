package base

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/lora"
)

// FetchAdapter takes a stored adapter's files into the folder dir. modules is that of
// [UnpackAdapter].
func FetchAdapter(ctx context.Context, from scu.Adapters, key scu.AdapterKey, dir string, modules func() ([]lora.Module, error)) error {
	stored, _, err := from.GetAdapter(ctx, key)
	if err != nil {
		return err
	}
	defer stored.Close()
	file, err := os.CreateTemp(dir, "zip")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	size, err := io.Copy(file, stored) // its last read fails if the bytes are others than those stored
	if err != nil {
		return fmt.Errorf("fetch the adapter of job %s: %w", key.Job, err)
	}
	z, err := zip.NewReader(file, size)
	if err != nil {
		return fmt.Errorf("the adapter of job %s: %w", key.Job, err)
	}
	return UnpackAdapter(z, dir, modules)
}
