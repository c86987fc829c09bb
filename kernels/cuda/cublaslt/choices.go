//go:build linux

package cublaslt

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/shannon-control/scu/kernels"
)

// Shape is a product dst = alpha op(a) op(b) + beta from of row-major matrices: op(a) [M,K], op(b) [K,N].
type Shape struct {
	M, N, K                   int
	StrideA, StrideB, StrideC int
	TransA, TransB            bool
	Type, TypeC               kernels.DType // of a and b, and of dst
}

// algorithm is the library's description of how a product is made, which it takes again in another process.
type algorithm [64]byte

// choices are the algorithms that were chosen by timing, by shape, and the file that keeps them: a choice holds
// for every later process of the same library on the same kind of GPU. Processes may share the file. One that
// can't be read, or is about another library or GPU, is ignored and rewritten.
type choices struct {
	of, path string // path is "" if nothing is kept
	mu       sync.Mutex
	known    map[string]algorithm
}

// choicesFile is the file: Sum is the hash of the rest.
type choicesFile struct {
	Of         string            `json:"of"`
	Algorithms map[string]string `json:"algorithms"` // by shape, in hexadecimal
	Sum        string            `json:"sum"`
}

// openChoices reads what is kept in a folder of choices for a library and GPU.
func openChoices(folder, of string) *choices {
	c := &choices{of: of, known: map[string]algorithm{}}
	if folder != "" {
		name := sha256.Sum256([]byte(of))
		c.path = filepath.Join(folder, fmt.Sprintf("cublaslt-%x.json", name[:6]))
		c.read()
	}
	return c
}

// key is the key of a shape with its sizes rounded up, to eight values between powers of two: similar sizes
// share an algorithm, so that rows of every length aren't timed for ever.
func key(s Shape) string {
	round := func(n int) int {
		unit := 1 << max(0, bits.Len(uint(n))-4)
		return (n + unit - 1) / unit * unit
	}
	return fmt.Sprintf("%dx%dx%d strides %d %d %d transposed %t %t types %v %v", round(s.M), round(s.N), round(s.K),
		s.StrideA, s.StrideB, s.StrideC, s.TransA, s.TransB, s.Type, s.TypeC)
}

func (c *choices) find(s Shape) (algorithm, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.known[key(s)]
	return a, ok
}

// keep keeps a choice, and returns the one that holds: another process's if that came first and is usable. It fails
// if the choice can't be kept.
func (c *choices) keep(s Shape, a algorithm, usable func(algorithm) bool) (algorithm, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lock, err := os.OpenFile(c.path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return a, err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return a, err
	}
	c.read()
	if theirs, ok := c.known[key(s)]; ok && usable(theirs) {
		return theirs, nil
	}
	c.known[key(s)] = a
	return a, c.write()
}

// sum is the hash of what the file holds.
func (f choicesFile) sum() string {
	f.Sum = ""
	b, err := json.Marshal(f) // maps are written in the order of their keys
	if err != nil {
		return ""
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// read adds the file's choices to those known.
func (c *choices) read() {
	b, err := os.ReadFile(c.path)
	if err != nil {
		return
	}
	var f choicesFile
	if json.Unmarshal(b, &f) != nil || f.Of != c.of || f.Sum != f.sum() {
		return
	}
	for k, text := range f.Algorithms {
		if b, err := hex.DecodeString(text); err == nil && len(b) == len(algorithm{}) {
			c.known[k] = algorithm(b)
		}
	}
}

// write puts all that is known into the file, whole or not at all.
func (c *choices) write() error {
	f := choicesFile{Of: c.of, Algorithms: map[string]string{}}
	for k, a := range c.known {
		f.Algorithms[k] = hex.EncodeToString(a[:])
	}
	f.Sum = f.sum()
	b, err := json.MarshalIndent(f, "", "\t")
	if err != nil {
		return err
	}
	next := c.path + ".new"
	if err := os.WriteFile(next, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(next, c.path)
}
