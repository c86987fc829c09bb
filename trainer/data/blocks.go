package data

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A file of blocks, little-endian:
//
//	tokens   int32 each, block after block: the id, or ^id where its prediction
//	         doesn't count in the loss. All blocks but the last are full.
//	footer   JSON, see below
//	trailer  uint32 length of the footer; uint32 CRC-32C of tokens and footer;
//	         the magic, 8 bytes
//
// The checksum finds damage, not malice. The file is read with pread, not mapped:
// the page cache serves both alike, and a file that shrinks is an error instead of
// the end of the process.
const (
	blocksMagic   = "SCUBLOCK"
	trailerSize   = 16
	maxFooter     = 1 << 20
	bytesPerToken = 4
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errStorage = errors.New("tokens can't be stored")
)

type footer struct {
	Key       string  `json:"key"`
	BlockSize int     `json:"block_size"`
	Tokens    int64   `json:"tokens"`
	Report    *Report `json:"report"`
}

// blockFile reads blocks. It is safe for concurrent use.
type blockFile struct {
	f      *os.File
	size   int   // tokens of a full block
	tokens int64 // of all blocks
}

func (b *blockFile) count() int { return int((b.tokens + int64(b.size) - 1) / int64(b.size)) }

func (b *blockFile) len(i int) int {
	return int(min(int64(b.size), b.tokens-int64(i)*int64(b.size)))
}

// read fills ids and targets, [b.len(i)] each, from block i.
func (b *blockFile) read(i int, ids, targets []int32) error {
	raw := make([]byte, bytesPerToken*b.len(i))
	if _, err := b.f.ReadAt(raw, int64(i)*int64(b.size)*bytesPerToken); err != nil {
		return fmt.Errorf("read block %d: %w", i, err)
	}
	for t := range ids {
		id := int32(binary.LittleEndian.Uint32(raw[bytesPerToken*t:]))
		if t > 0 {
			targets[t-1] = max(id, -1) // ^id is below 0
		}
		if id < 0 {
			id = ^id
		}
		ids[t] = id
	}
	targets[len(ids)-1] = -1
	return nil
}

// openBlocks opens a file that createBlocks made for the same key. Anything amiss
// is an error.
func openBlocks(path, key string) (_ *blockFile, _ *Report, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	body := info.Size() - trailerSize
	if body < 0 {
		return nil, nil, fmt.Errorf("%s is cut off", path)
	}
	var trailer [trailerSize]byte
	if _, err := f.ReadAt(trailer[:], body); err != nil {
		return nil, nil, err
	}
	footerSize := int64(binary.LittleEndian.Uint32(trailer[:]))
	if string(trailer[8:]) != blocksMagic || footerSize > min(maxFooter, body) {
		return nil, nil, fmt.Errorf("%s is no file of blocks", path)
	}
	sum := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, io.NewSectionReader(f, 0, body), make([]byte, 1<<20)); err != nil {
		return nil, nil, err
	}
	if sum.Sum32() != binary.LittleEndian.Uint32(trailer[4:]) {
		return nil, nil, fmt.Errorf("%s is damaged: its checksum differs", path)
	}
	raw := make([]byte, footerSize)
	if _, err := f.ReadAt(raw, body-footerSize); err != nil {
		return nil, nil, err
	}
	var foot footer
	if err := json.Unmarshal(raw, &foot); err != nil {
		return nil, nil, fmt.Errorf("%s: footer: %w", path, err)
	}
	if foot.Key != key || foot.BlockSize < 2 || foot.Report == nil || foot.Tokens < 2 || foot.Tokens != (body-footerSize)/bytesPerToken {
		return nil, nil, fmt.Errorf("%s holds other blocks than asked for", path)
	}
	now := time.Now()
	os.Chtimes(path, now, now) // for Cache.shrink; where it fails the file goes early
	return &blockFile{f: f, size: foot.BlockSize, tokens: foot.Tokens}, foot.Report, nil
}

// blockWriter writes a file of blocks aside; finish puts it in its place at once.
type blockWriter struct {
	path string // "": nobody else will read it
	f    *os.File
	w    *bufio.Writer
	sum  uint32
	foot footer
	done bool
	raw  []byte
}

// createBlocks begins the file at path, or, where path is empty, one that goes
// when it is closed.
func createBlocks(path, key string, size int) (*blockWriter, error) {
	dir := ""
	if path != "" {
		dir = filepath.Dir(path)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		removeStale(dir)
	}
	f, err := os.CreateTemp(dir, "*"+partEnding)
	if err != nil {
		return nil, err
	}
	return &blockWriter{path: path, f: f, w: bufio.NewWriterSize(f, 256<<10), foot: footer{Key: key, BlockSize: size}}, nil
}

const (
	partEnding = ".blocks.part"
	staleAfter = 24 * time.Hour
)

// removeStale removes what processes that died long ago left half-written.
func removeStale(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasSuffix(e.Name(), partEnding) && time.Since(info.ModTime()) > staleAfter {
			os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

func (w *blockWriter) write(block []int32) error {
	w.raw = w.raw[:0]
	for _, id := range block {
		w.raw = binary.LittleEndian.AppendUint32(w.raw, uint32(id))
	}
	w.foot.Tokens += int64(len(block))
	return w.put(w.raw)
}

func (w *blockWriter) put(b []byte) error {
	w.sum = crc32.Update(w.sum, castagnoli, b)
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("%w: %w", errStorage, err)
	}
	return nil
}

// finish completes the file and opens it.
func (w *blockWriter) finish(r *Report) (*blockFile, error) {
	w.foot.Report = r
	foot, err := json.Marshal(w.foot)
	if err != nil {
		return nil, err
	}
	if err := w.put(foot); err != nil {
		return nil, err
	}
	trailer := binary.LittleEndian.AppendUint32(nil, uint32(len(foot)))
	trailer = binary.LittleEndian.AppendUint32(trailer, w.sum)
	w.w.Write(append(trailer, blocksMagic...)) // bufio keeps an error for Flush
	if err := w.w.Flush(); err != nil {
		return nil, err
	}
	if w.path == "" {
		err = os.Remove(w.f.Name())
	} else {
		err = os.Rename(w.f.Name(), w.path)
	}
	if err != nil {
		return nil, err
	}
	w.done = true
	return &blockFile{f: w.f, size: w.foot.BlockSize, tokens: w.foot.Tokens}, nil
}

// abort removes a file that finish didn't complete.
func (w *blockWriter) abort() {
	if w.done {
		return
	}
	w.f.Close()
	os.Remove(w.f.Name())
}
