//go:build cuda && cgo && linux

package cuda

import (
	"bytes"
	"compress/gzip"
	"embed"
	"fmt"
	"io"
)

//go:embed built/*.gz
var built embed.FS

// image returns a source's code for a GPU: machine code if it was built for that GPU, and
// otherwise PTX, which the driver compiles.
func image(source string, capability int) ([]byte, error) {
	name := fmt.Sprintf("built/%s.sm_%da.cubin.gz", source, capability)
	b, err := built.ReadFile(name)
	if err != nil {
		name = fmt.Sprintf("built/%s.compute_80.ptx.gz", source)
		if b, err = built.ReadFile(name); err != nil {
			return nil, err
		}
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	code, err := io.ReadAll(z)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return append(code, 0), nil // PTX ends with a zero; a cubin doesn't mind
}
