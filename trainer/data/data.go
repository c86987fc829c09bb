// Package data turns a stored file into blocks of tokens, and says which blocks
// each optimiser step trains on.
//
// The way: lines (lines.go) become documents (text.go, jsonl.go), documents
// become tokens (encode.go), tokens are packed into blocks (pack.go), and blocks
// lie in a file (blocks.go) that a Dataset reads from and a Plan puts in order.
//
// It promises:
//
//   - Memory doesn't grow with the file: some lines, their documents and one block
//     are held at a time.
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
	// TrainOn is scu.TrainOnAll or scu.TrainOnComplete.
	TrainOn string
	// Template renders `messages`. Without one such rows are refused.
	Template *ChatTemplate

	// Cache keeps the blocks of files for the next time. It needs FileID and
	// TokenizerID, the digests of what is read and of what it is encoded with.
	// Without any of the three nothing is kept.
	Cache               Cache
	FileID, TokenizerID string
}

// cacheVersion changes whenever the same input gives other blocks, or another
// report, than before.
const cacheVersion = 3

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
		if b, r, err := openBlocks(o.Cache.path(key), key); err == nil {
			return &Dataset{blocks: b, eos: o.EOS}, r, nil
		} // a missing or damaged file is written anew
	}
	w, err := createBlocks(o.Cache.path(key), key, o.BlockSize)
	if err != nil {
		return nil, nil, storage(name, err)
	}
	defer w.abort()
	report, err := build(ctx, f, name, tok, o, w)
	report.Bytes = info.Size()
	if err != nil {
		return nil, report, err
	}
	b, err := w.finish(report)
	if err != nil {
		return nil, report, storage(name, err)
	}
	if key != "" {
		o.Cache.shrink(key)
	}
	return &Dataset{blocks: b, eos: o.EOS}, report, nil
}

// build reads documents from r and packs them into w. An error of the data itself
// comes with the report.
func build(ctx context.Context, r io.Reader, name string, tok Tokenizer, o Options, w *blockWriter) (*Report, error) {
	report := &Report{}
	lines, err := newLineReader(r)
	if err != nil {
		return report, unreadable(name, err)
	}
	p := packer{size: o.BlockSize, write: w.write}
	encode := func(d *document) { d.encode(ctx, tok) }
	pack := func(d document) error {
		if len(report.Refused) > 0 {
			return nil // the rest is only looked through for what else is wrong
		}
		return d.pack(&p, o, report)
	}
	if lines.jsonl(name) {
		err = readJSONL(ctx, lines, o, encode, report, pack)
	} else {
		emit := func(d document) error {
			if len(report.Refused) == 0 {
				encode(&d)
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			return pack(d)
		}
		err = readText(lines, o.TextDocuments == scu.DocumentPara, formatByName(name) == formatTable, textPiece, report, emit)
	}
	if err == nil {
		err = p.close()
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return report, err
	case errors.Is(err, errStorage):
		return report, storage(name, err)
	case err != nil:
		return report, unreadable(name, err)
	}
	report.Blocks, report.Tokens, report.Targets, report.LeftOut = p.blocks, p.tokens, p.targets, p.leftOut
	if report.Blocks == 0 && len(report.Refused) == 0 {
		report.refuse(Empty, 1, "the file gives no token to predict")
	}
	return report, report.err(name)
}

// cacheKey names the blocks that these options make of a file; "" for none.
func (o Options) cacheKey(name string) string {
	if o.Cache.Dir == "" || o.FileID == "" || o.TokenizerID == "" {
		return ""
	}
	var template string
	if o.Template != nil {
		template = o.Template.digest
	}
	b, err := json.Marshal([]any{cacheVersion, o.FileID, o.TokenizerID, formatByName(name), o.BlockSize, o.EOS, o.BOS,
		o.TextDocuments, o.TrainOn, template})
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
		return scu.Errorf(scu.CodeExhausted, "no room on the disk for the tokens of %s: %w", name, err).
			WithHint("tokens take about as many bytes as the text")
	}
	return scu.Errorf(scu.CodeInternal, "keep the tokens of %s: %w", name, err)
}

// Formats that a name may ask for.
const (
	formatUnknown = ""
	formatText    = "text"
	formatJSONL   = "jsonl"
	formatTable   = "table"
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
		return formatTable
	}
	return formatUnknown
}
