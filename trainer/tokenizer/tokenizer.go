// Package tokenizer reads a Hugging Face tokenizer.json and gives the ids that the official library
// (huggingface/tokenizers 0.23) gives, fast.
//
// It promises:
//   - the same ids and the same decoded text as the official library, for everything Parse accepts;
//   - an error that names the field for everything in the file that it does not do, never a guess;
//   - no panic and no unbounded memory, whatever the file or the text.
//
// "truncation" and "padding" are settings of a call, which Transformers switches off before it encodes;
// they are not applied here either. Dropout would make ids differ from run to run and is refused.
//
// A text goes through: added tokens cut out, normaliser, added tokens again, pre-tokenisers, model. Each
// has its file; the way is AppendEncode.
package tokenizer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxFile bounds what Load reads of one file. Gemma 3's tokenizer.json, the largest in common use, has 33 MB.
const maxFile = 128 << 20

// Tokenizer encodes and decodes. It is safe for concurrent use.
type Tokenizer struct {
	model     model
	added     *addedTokens
	normalize normalizer
	pre       preTokenizer
	template  template
	decode    decoder
	size      int
}

// Load reads the tokenizer of a model folder: tokenizer.json, or the older vocab.json with merges.txt.
func Load(dir string) (*Tokenizer, error) {
	path := filepath.Join(dir, "tokenizer.json")
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		t, err := loadLegacy(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s has neither tokenizer.json nor vocab.json with merges.txt", dir)
		}
		return t, err
	}
	if err != nil {
		return nil, err
	}
	if data, err = withSettings(dir, data); err != nil {
		return nil, err
	}
	t, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s has %d bytes; a tokenizer may have %d", path, info.Size(), maxFile)
	}
	data := make([]byte, 0, info.Size()+1)
	for {
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF {
			return data, nil
		}
		if err != nil {
			return nil, err
		}
		if len(data) == cap(data) {
			return nil, fmt.Errorf("%s grew while it was read; try again", path)
		}
	}
}

// Parse reads the bytes of a tokenizer.json. Its errors name the field.
func Parse(data []byte) (*Tokenizer, error) {
	if err := checkJSON(data); err != nil {
		return nil, fmt.Errorf("tokenizer.json: %w", err)
	}
	o := newObject("tokenizer.json", 0, string(data))
	if v := o.stringOr("version", "1.0"); v != "1.0" {
		o.fail("version", "%q is not supported (want 1.0)", v)
	}
	o.ignore("truncation", "padding")
	normalizerField, pre := o.child("normalizer"), o.child("pre_tokenizer")
	post, dec, mod := o.child("post_processor"), o.child("decoder"), o.child("model")
	var added []*object
	if o.raw("added_tokens") != "" {
		added = o.children("added_tokens")
	}
	if mod == nil {
		o.missing("model")
	}
	if err := o.done(); err != nil {
		return nil, err
	}

	t := &Tokenizer{}
	var err error
	if t.normalize, err = buildNormalizer(normalizerField); err != nil {
		return nil, err
	}
	if err = buildPreTokenizer(pre, &t.pre); err != nil {
		return nil, err
	}
	if t.pre.first && !keepsStart(normalizerField) {
		return nil, fmt.Errorf("%s: prepend_scheme \"first\" is not supported after this normalizer", pre.path)
	}
	if t.model, err = buildModel(mod, t.pre.byteLevel); err != nil {
		return nil, err
	}
	if m, ok := t.model.(*bpe); t.pre.byteLevel && !(ok && m.bytewise) {
		t.pre.flush()
	}
	var list []addedToken
	for _, a := range added {
		tok, err := readAdded(a)
		if err != nil {
			return nil, err
		}
		list = append(list, tok)
	}
	if t.added, err = buildAdded(list, t.model, t.normalize); err != nil {
		return nil, err
	}
	t.size = len(t.model.vocabulary().tokens)
	for id := range t.added.byID {
		t.size = max(t.size, int(id)+1)
	}
	if t.template, err = buildTemplate(post); err != nil {
		return nil, err
	}
	for _, id := range t.template.ids() {
		if int(id) >= t.size {
			return nil, fmt.Errorf("%s: id %d is beyond the vocabulary (%d)", post.path, id, t.size)
		}
	}
	if t.decode, err = buildDecoder(dec); err != nil {
		return nil, err
	}
	return t, nil
}

// buildModel reads the model. A file without its type is of the oldest kind, where the fields tell.
func buildModel(o *object, byteLevel bool) (model, error) {
	has := func(name string) bool { _, ok := o.fields[name]; return ok }
	other := ""
	switch {
	case has("merges"):
		other = "BPE"
	case has("max_input_chars_per_word"):
		other = "WordPiece"
	case has("unk_id"):
		other = "Unigram"
	}
	switch kind := o.stringOr("type", other); kind {
	case "BPE":
		return buildBPE(o, byteLevel)
	case "Unigram":
		return buildUnigram(o)
	case "WordPiece":
		return buildWordPiece(o)
	default:
		return nil, o.unsupported(kind)
	}
}

// Encode gives the ids of text. Added tokens in the text are recognised; nothing is put around it.
func (t *Tokenizer) Encode(text string) []int32 {
	return t.AppendEncode(make([]int32, 0, len(text)/3+4), text)
}

// encodeSpecial is Encode with the special tokens that the post-processor puts around a text.
func (t *Tokenizer) encodeSpecial(text string) []int32 {
	dst := append(make([]int32, 0, len(text)/3+4), t.template.before...)
	return append(t.AppendEncode(dst, text), t.template.after...)
}

// Before gives the special tokens that the post-processor puts before a text; mostly none.
func (t *Tokenizer) Before() []int32 { return slices.Clone(t.template.before) }

// AppendEncode appends what Encode gives to dst. Bytes that are not UTF-8 count as U+FFFD.
func (t *Tokenizer) AppendEncode(dst []int32, text string) []int32 {
	text = toUTF8(text)
	token := func(id int32) { dst = append(dst, id) }
	word := func(s string) { dst = t.model.appendEncode(dst, s) }
	t.added.cut(t.added.raw, text, func(from, to int) {
		part := text[from:to]
		if t.normalize != nil {
			part = t.normalize(part)
		}
		t.added.cut(t.added.normal, part, func(a, b int) {
			t.pre.run(piece{part[a:b], from == 0 && a == 0}, word)
		}, token)
	}, token)
	return dst
}

// Decode gives the text of ids. Ids without a token are left out, and with skipSpecial the special
// tokens are too.
func (t *Tokenizer) Decode(ids []int32, skipSpecial bool) string {
	tokens := make([]string, 0, len(ids))
	for _, id := range ids {
		if tok, ok := t.IDToToken(id); ok && !(skipSpecial && t.added.special[tok]) {
			tokens = append(tokens, tok)
		}
	}
	if t.decode == nil {
		return strings.Join(tokens, " ")
	}
	return strings.Join(t.decode(tokens), "")
}

// VocabSize is the highest id + 1, added tokens included: what a model's embedding must have at least.
func (t *Tokenizer) VocabSize() int { return t.size }

// TokenToID gives the id of a token as it is written in the file (byte-level tokens in the byte
// alphabet, as in "Ġthe").
func (t *Tokenizer) TokenToID(tok string) (int32, bool) {
	if id, ok := t.added.ids[tok]; ok {
		return id, true
	}
	return t.model.vocabulary().id(tok)
}

// IDToToken is the reverse of TokenToID. An added token that is looked for in normalised text is given
// as normalised.
func (t *Tokenizer) IDToToken(id int32) (string, bool) {
	if _, ok := t.added.byID[id]; ok {
		return t.added.spelling(id), true
	}
	return t.model.vocabulary().token(id)
}
