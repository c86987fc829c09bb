package data

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/shannon-control/scu"
)

// A file of tokens, little-endian:
//
//	tokens   int32 each, document after document: the id, or ^id where its
//	         prediction doesn't count in the loss
//	index    24 bytes a document: uint64 number of tokens; uint64 how many of them
//	         but the first count; the first 8 bytes of the SHA-256 of its ids
//	footer   JSON, see below
//	trailer  uint32 length of the footer; uint32 CRC-32C of all before the trailer;
//	         the magic, 8 bytes
//
// The checksum finds damage, not malice. The file is read with pread, not mapped:
// the page cache serves both alike, and a file that shrinks is an error instead of
// the end of the process.
const (
	tokensMagic   = "SCUTOKEN"
	trailerSize   = 16
	maxFooter     = 1 << 20
	bytesPerToken = 4
	bytesPerDoc   = 24
	maxDocument   = math.MaxInt32 // tokens
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	errStorage = errors.New("tokens can't be stored")

	errLongDocument = scu.Errorf(scu.CodeTooLarge, "a document has more than %d tokens", maxDocument).WithHint("split it into several")
)

type footer struct {
	Key       string  `json:"key"`
	Documents int64   `json:"documents"`
	Tokens    int64   `json:"tokens"`
	Rows      bool    `json:"rows"`    // each document is a row of its own
	Partial   bool    `json:"partial"` // some tokens don't count
	Report    *Report `json:"report"`
}

// tokenFile reads the tokens of documents. It is safe for concurrent use.
type tokenFile struct {
	f       *os.File
	rows    bool // documents are rows, not texts that are read on end
	partial bool // some tokens don't count in the loss
}

// doc is a document in a token file.
type doc struct {
	file    int32  // which of a Dataset's
	cut     bool   // a part of the document that hash is of
	n       int32  // tokens
	targets int32  // of them but the first, those that count
	at      int64  // its first token's number in the file
	hash    uint64 // of its ids: equal documents have the same
}

// read fills ids and targets, of the same length, with the tokens from number at
// on. targets[i] is ids[i] where its prediction counts and -1 where it doesn't:
// the caller moves them to where they are predicted.
func (t *tokenFile) read(at int64, ids, targets []int32) error {
	raw := make([]byte, bytesPerToken*len(ids))
	if _, err := t.f.ReadAt(raw, at*bytesPerToken); err != nil {
		return fmt.Errorf("read tokens from %d: %w", at, err)
	}
	for i := range ids {
		id := int32(binary.LittleEndian.Uint32(raw[bytesPerToken*i:]))
		targets[i] = max(id, -1) // ^id is below 0
		if id < 0 {
			id = ^id
		}
		ids[i] = id
	}
	return nil
}

// openTokens opens a file that createTokens made for the same key. Anything amiss
// is an error.
func openTokens(path, key string) (_ *tokenFile, _ []doc, _ *Report, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, nil, err
	}
	body := info.Size() - trailerSize
	if body < 0 {
		return nil, nil, nil, fmt.Errorf("%s is cut off", path)
	}
	var trailer [trailerSize]byte
	if _, err := f.ReadAt(trailer[:], body); err != nil {
		return nil, nil, nil, err
	}
	footerSize := int64(binary.LittleEndian.Uint32(trailer[:]))
	if string(trailer[8:]) != tokensMagic || footerSize > min(maxFooter, body) {
		return nil, nil, nil, fmt.Errorf("%s is not a file of tokens", path)
	}
	sum := crc32.New(castagnoli)
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, io.NewSectionReader(f, 0, body), make([]byte, 1<<20)); err != nil {
		return nil, nil, nil, err
	}
	if sum.Sum32() != binary.LittleEndian.Uint32(trailer[4:]) {
		return nil, nil, nil, fmt.Errorf("%s is damaged: its checksum differs", path)
	}
	raw := make([]byte, footerSize)
	if _, err := f.ReadAt(raw, body-footerSize); err != nil {
		return nil, nil, nil, err
	}
	var foot footer
	if err := json.Unmarshal(raw, &foot); err != nil {
		return nil, nil, nil, fmt.Errorf("%s: footer: %w", path, err)
	}
	data := body - footerSize
	if foot.Key != key || foot.Report == nil || foot.Documents < 1 || foot.Documents > data/bytesPerDoc ||
		foot.Tokens != (data-foot.Documents*bytesPerDoc)/bytesPerToken {
		return nil, nil, nil, fmt.Errorf("%s holds other tokens than asked for", path)
	}
	docs, err := readIndex(io.NewSectionReader(f, foot.Tokens*bytesPerToken, foot.Documents*bytesPerDoc), foot.Documents, foot.Tokens)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	now := time.Now()
	os.Chtimes(path, now, now) // for Cache.shrink; if it fails the file goes early
	return &tokenFile{f: f, rows: foot.Rows, partial: foot.Partial}, docs, foot.Report, nil
}

// readIndex reads the documents of a file of so many tokens.
func readIndex(r io.Reader, n, tokens int64) ([]doc, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	docs := make([]doc, 0, n)
	var entry [bytesPerDoc]byte
	var at int64
	for range n {
		if _, err := io.ReadFull(in, entry[:]); err != nil {
			return nil, err
		}
		size, targets := binary.LittleEndian.Uint64(entry[:]), binary.LittleEndian.Uint64(entry[8:])
		if size < 1 || size > maxDocument || targets >= size || int64(size) > tokens-at {
			return nil, errors.New("the index doesn't go with the tokens")
		}
		docs = append(docs, doc{n: int32(size), targets: int32(targets), at: at, hash: binary.LittleEndian.Uint64(entry[16:])})
		at += int64(size)
	}
	return docs, nil
}

// tokenWriter writes a file of tokens aside; finish puts it in its place at once.
type tokenWriter struct {
	path string // "": nobody else will read it
	f    *os.File
	w    *bufio.Writer
	sum  uint32
	foot footer
	docs []doc
	cur  doc       // the document at hand
	ids  hash.Hash // of its ids
	done bool
	raw  []byte
}

// createTokens begins the file at path, or, if path is empty, one that goes when it
// is closed.
func createTokens(path, key string) (*tokenWriter, error) {
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
	return &tokenWriter{path: path, f: f, w: bufio.NewWriterSize(f, 256<<10), foot: footer{Key: key}, ids: sha256.New()}, nil
}

const (
	partEnding = ".tokens.part"
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

// add appends tokens to the document at hand; counts reports whether their
// predictions count in the loss.
func (w *tokenWriter) add(ids []int32, counts bool) error {
	w.raw = w.raw[:0]
	for _, id := range ids {
		w.raw = binary.LittleEndian.AppendUint32(w.raw, uint32(id))
	}
	w.ids.Write(w.raw)
	n := len(ids)
	if n > 0 && !counts {
		w.foot.Partial = true
		for i := range n {
			binary.LittleEndian.PutUint32(w.raw[bytesPerToken*i:], uint32(^ids[i]))
		}
	}
	if int64(w.cur.n)+int64(n) > maxDocument {
		return errLongDocument
	}
	if counts {
		w.cur.targets += int32(n)
		if w.cur.n == 0 && n > 0 {
			w.cur.targets-- // nothing predicts a first token
		}
	}
	w.cur.n += int32(n)
	return w.put(w.raw)
}

// end ends the document at hand.
func (w *tokenWriter) end() {
	if w.cur.n > 0 {
		w.cur.hash = binary.LittleEndian.Uint64(w.ids.Sum(nil))
		w.docs = append(w.docs, w.cur)
	}
	w.cur = doc{at: w.cur.at + int64(w.cur.n)}
	w.ids.Reset()
}

func (w *tokenWriter) put(b []byte) error {
	w.sum = crc32.Update(w.sum, castagnoli, b)
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("%w: %w", errStorage, err)
	}
	return nil
}

// finish completes the file and opens it.
func (w *tokenWriter) finish(r *Report) (*tokenFile, []doc, error) {
	for _, d := range w.docs {
		entry := binary.LittleEndian.AppendUint64(w.raw[:0], uint64(d.n))
		entry = binary.LittleEndian.AppendUint64(entry, uint64(d.targets))
		entry = binary.LittleEndian.AppendUint64(entry, d.hash)
		if err := w.put(entry); err != nil {
			return nil, nil, err
		}
	}
	w.foot.Documents, w.foot.Tokens, w.foot.Report = int64(len(w.docs)), w.cur.at, r
	foot, err := json.Marshal(w.foot)
	if err != nil {
		return nil, nil, err
	}
	if err := w.put(foot); err != nil {
		return nil, nil, err
	}
	trailer := binary.LittleEndian.AppendUint32(nil, uint32(len(foot)))
	trailer = binary.LittleEndian.AppendUint32(trailer, w.sum)
	w.w.Write(append(trailer, tokensMagic...)) // bufio keeps an error for Flush
	if err := w.w.Flush(); err != nil {
		return nil, nil, err
	}
	if w.path == "" {
		err = os.Remove(w.f.Name())
	} else {
		err = os.Rename(w.f.Name(), w.path)
	}
	if err != nil {
		return nil, nil, err
	}
	w.done = true
	return &tokenFile{f: w.f, rows: w.foot.Rows, partial: w.foot.Partial}, w.docs, nil
}

// abort removes a file that finish didn't complete.
func (w *tokenWriter) abort() {
	if w.done {
		return
	}
	w.f.Close()
	os.Remove(w.f.Name())
}
