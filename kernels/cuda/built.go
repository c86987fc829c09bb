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

// format names what a GPU of some compute capability, ten times major plus minor, is given
// of a source: machine code if there is some that it runs, and otherwise PTX, which the
// driver compiles. GPUs of one major run the code of lower minors; code for sm_90a runs on
// 9.0 alone.
func format(capability int) string {
	switch {
	case capability == 90:
		return "sm_90a.cubin"
	case capability == 89:
		return "sm_89.cubin"
	case capability/10 == 8 && capability >= 86:
		return "sm_86.cubin"
	case capability/10 == 8:
		return "sm_80.cubin"
	}
	return "compute_80.ptx"
}

// image returns a source's code for a GPU of some compute capability.
func image(source string, capability int) ([]byte, error) {
	name := fmt.Sprintf("built/%s.%s.gz", source, format(capability))
	b, err := built.ReadFile(name)
	if err != nil {
		return nil, err
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
