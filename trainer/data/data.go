// Package data turns a stored file into blocks of tokens, and tells which blocks
// each optimiser step trains on.
//
// The way: lines (lines.go) become documents (text.go, jsonl.go), documents
// become tokens (encode.go) that lie in a file (tokens.go). A Dataset packs them
// into blocks (layout.go), holds some of them out (split.go), and a Plan puts the
// blocks in order.
//
// It promises:
//
//   - A row is never trained on in parts that another row could see into, and a
//     document that validates isn't trained on.
//   - Memory doesn't grow with the text: some lines and their documents are held at
//     a time, and some 50 bytes for each document.
//   - Nothing in a file makes it panic. What can't be trained on is refused before
//     anything is trained, with the numbers of the lines.
//   - The same bytes, tokenizer and options are tokenised once, where a cache
//     folder is given.
//   - What a step trains on is a function of (data, seed, step) alone, so a
//     resumed run needs no replay.
package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/shannon-control/scu"
)

// Tokenizer is what this package needs of trainer/tokenizer.
type Tokenizer interface {
	// AppendEncode appends the ids of text to dst; nothing is put around it.
	AppendEncode(dst []int32, text string) []int32
	// Decode gives the text of ids.
	Decode(ids []int32, skipSpecial bool) string
}

// Options say how a file is read.
type Options struct {
	// BlockSize is the tokens of a block, 2 or more.
	BlockSize int
	// EOS is the id of the end-of-text token, which ends every document that
	// doesn't end with it by itself. A chat template ends conversations as it will.
	EOS int32
	// BOS are ids put before every text and prompt, as the tokenizer's
	// post-processor has them; a chat template writes its own. Usually none.
	BOS []int32
	// TextDocuments is scu.DocumentFile or scu.DocumentPara.
	TextDocuments string
	// Packing is scu.PackRows, scu.PackJoined or scu.PackOff.
	Packing string
	// TrainOn is scu.TrainOnAll or scu.TrainOnCompletion.
	TrainOn string
	// Template renders `messages`. Without one such rows are refused.
	Template *ChatTemplate

	// Cache keeps the tokens of files for the next time. It needs FileID and
	// TokenizerID, the digests of what is read and of what it is encoded with.
	// Without any of the three nothing is kept.
	Cache               Cache
	FileID, TokenizerID string
}

// cacheVersion changes whenever the same input gives other tokens, or another
// report, than before.
const cacheVersion = 5

// Open reads the file at path into blocks. name is what the user called it: its
// ending tells JSONL from text where the content doesn't.
//
// The report describes the data, also where the error is that lines were refused
// (code invalid). Close the Dataset.
func Open(ctx context.Context, path, name string, tok Tokenizer, o Options) (*Dataset, *Report, error) {
	if o.BlockSize < 2 {
		return nil, nil, scu.Errorf(scu.CodeInvalid, "a block of %d tokens has nothing to predict", o.BlockSize).At("block_size")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, unreadable(name, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, unreadable(name, err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, scu.Errorf(scu.CodeInvalid, "%s is not a file", name)
	}

	key := o.cacheKey(name)
	if key != "" {
		if t, docs, r, err := openTokens(o.Cache.path(key), key); err == nil {
			return o.dataset(name, t, docs, r)
		} // a missing or damaged file is written anew
	}
	w, err := createTokens(o.Cache.path(key), key)
	if err != nil {
		return nil, nil, storage(name, err)
	}
	defer w.abort()
	report, err := build(ctx, f, info.Size(), name, tok, o, w)
	report.Bytes = info.Size()
	if err != nil {
		return nil, report, err
	}
	t, docs, err := w.finish(report)
	if err != nil {
		return nil, report, storage(name, err)
	}
	if key != "" {
		o.Cache.shrink(key)
	}
	return o.dataset(name, t, docs, report)
}

// dataset packs the documents of a token file, and counts them in their report.
func (o Options) dataset(name string, t *tokenFile, docs []doc, report *Report) (*Dataset, *Report, error) {
	d, err := newDataset([]*tokenFile{t}, docs, o.BlockSize, o.Packing, o.EOS, nil)
	if err == nil {
		report.count(d)
		if d.Blocks() == 0 {
			report.refuse(Empty, 1, "the file gives no token to predict")
			err = report.err(name)
		}
	}
	if err != nil {
		t.f.Close()
		return nil, report, err
	}
	return d, report, nil
}

// build reads the documents of a file of so many bytes and writes their tokens to
// w. An error of the data itself comes with the report.
func build(ctx context.Context, f io.ReaderAt, size int64, name string, tok Tokenizer, o Options, w *tokenWriter) (*Report, error) {
	report := &Report{}
	lines, err := newLineReader(io.NewSectionReader(f, 0, size))
	if err != nil {
		return report, unreadable(name, err)
	}
	encode := func(d *document) { d.encode(ctx, tok) }
	put := func(d document) error {
		if len(report.Refused) > 0 {
			return nil // the rest is only looked through for what else is wrong
		}
		return d.write(w, o, report)
	}
	source, rows, err := openRows(lines, f, size, name, report)
	switch {
	case err != nil:
	case rows && source == nil: // refused
	case rows:
		w.foot.Rows = true
		err = readRows(ctx, source, o, encode, report, put)
	default:
		emit := func(d document) error {
			if len(report.Refused) == 0 {
				encode(&d)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			return put(d)
		}
		err = readText(lines, o.TextDocuments == scu.DocumentPara, textPiece, report, emit)
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, errLongDocument):
		return report, err
	case errors.Is(err, errStorage):
		return report, storage(name, err)
	case err != nil:
		return report, unreadable(name, err)
	}
	if len(w.docs) == 0 && len(report.Refused) == 0 {
		report.refuse(Empty, 1, "the file gives no token to predict")
	}
	return report, report.err(name)
}

// openRows begins to read a file of rows; rows is false for a plain text. There is
// no source if the file is refused.
func openRows(lines *lineReader, f io.ReaderAt, size int64, name string, r *Report) (source rowSource, rows bool, err error) {
	ok := false
	switch {
	case lines.parquet:
		source, ok, err = newParquet(f, size, r)
	case formatByName(name) == formatCSV:
		source, ok, err = newTable(lines, io.NewSectionReader(f, 0, size), r)
	case lines.jsonl(name):
		source, ok = newJSONL(lines, r)
	default:
		return nil, false, nil
	}
	if !ok {
		source = nil
	}
	return source, true, err
}

// cacheKey names the tokens that these options make of a file; "" for none.
func (o Options) cacheKey(name string) string {
	if o.Cache.Dir == "" || o.FileID == "" || o.TokenizerID == "" {
		return ""
	}
	var template string
	if o.Template != nil {
		template = o.Template.digest
	}
	b, err := json.Marshal([]any{cacheVersion, o.FileID, o.TokenizerID, formatByName(name), o.BlockSize, o.EOS, o.BOS,
		o.TextDocuments, o.TrainOn, o.Packing, template})
	if err != nil {
		panic(err) // plain data
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func unreadable(name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return scu.Errorf(scu.CodeNotFound, "%s is gone: %w", name, err)
	}
	return scu.Errorf(scu.CodeInternal, "read %s: %w", name, err)
}

func storage(name string, err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return scu.Errorf(scu.CodeStorage, "no room on the disk for the tokens of %s: %w", name, err).
			WithHint("tokens take about as many bytes as the text")
	}
	return scu.Errorf(scu.CodeInternal, "keep the tokens of %s: %w", name, err)
}

// Formats that a name may ask for.
const (
	formatUnknown = ""
	formatText    = "text"
	formatJSONL   = "jsonl"
	formatCSV     = "csv" // or TSV
	formatParquet = "parquet"
)

// formatByName is what the ending of a name says. A .json file is read as JSONL
// so that an array is refused with the reason instead of trained on as text.
func formatByName(name string) string {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".jsonl", ".ndjson", ".json":
		return formatJSONL
	case ".txt", ".text", ".md":
		return formatText
	case ".csv", ".tsv":
		return formatCSV
	}
	return formatUnknown
}
