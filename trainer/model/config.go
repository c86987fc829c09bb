package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/pyjson"
)

// maxConfigBytes bounds config.json: real ones have a few kilobytes.
const maxConfigBytes = 4 << 20

// ReadSpec reads the config.json of a model folder.
func ReadSpec(dir string) (*Spec, error) {
	f, err := os.Open(filepath.Join(dir, "config.json"))
	if err != nil {
		if e := new(fs.PathError); errors.As(err, &e) {
			err = e.Err // don't reveal where the server keeps its folders
		}
		return nil, scu.Errorf(scu.CodeInvalid, "the model folder has no readable config.json: %w", err).
			WithHint("a model folder holds config.json, *.safetensors and tokenizer.json")
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "config.json: %w", err)
	}
	if len(b) > maxConfigBytes {
		return nil, scu.Errorf(scu.CodeTooLarge, "config.json has more than %d bytes", maxConfigBytes)
	}
	return ParseSpec(b)
}

// ParseSpec turns the text of a config.json into a Spec. A setting that this package
// can't compute exactly is a CodeUnsupported error that names it.
func ParseSpec(b []byte) (spec *Spec, err error) {
	var raw map[string]any
	d := json.NewDecoder(bytes.NewReader(pyjson.Standard(b)))
	d.UseNumber()
	if err := d.Decode(&raw); err != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "config.json is not a JSON object: %w", err)
	}
	c := &configReader{raw: raw, read: map[string]bool{}}
	kind := c.str("model_type", "")
	family, ok := families[kind]
	if !ok {
		if why := refusals[kind]; why != "" {
			return nil, scu.Errorf(scu.CodeUnsupported, "config.json: model_type %q can't be fine-tuned here: %s", kind, why)
		}
		return nil, scu.Errorf(scu.CodeUnsupported, "config.json: model_type %q is not supported", kind).
			WithHint("supported: %s", strings.Join(Families(), ", "))
	}
	spec = family(c)
	c.refuse("is_encoder_decoder")
	c.quantization()
	c.refuseUnread(harmless)
	if c.err != nil {
		return nil, c.err
	}
	if spec.TiedHead { // the one weight may be stored under the head's name
		spec.Prefixes = append(spec.Prefixes, Prefix{spec.Embed, spec.Head.Path + ".weight"})
	}
	spec.Family, spec.Notes = kind, c.notes
	return spec, nil
}
