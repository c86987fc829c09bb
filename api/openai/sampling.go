package openai

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"math/big"

	"github.com/shannon-control/scu"
)

// Bounds of what a request to a model asks for.
const (
	maxChoices = 16
	maxStops   = 4
	maxPrompts = 32
	maxTop     = 20
)

// asked is what a request to a model asks for, whichever of the two it is.
type asked struct {
	model   string // as the request names it
	each    scu.Generation
	choices int // of each prompt
	stream  bool
	usage   bool // at the end of a stream
}

// readSampling reads what both requests have. tokens are the names of the bound on new
// tokens, of which the first one given counts.
func (f fields) readSampling(a *asked, tokens ...string) error {
	a.each.Temperature, a.each.TopP, a.each.Alternatives, a.choices = 1, 1, -1, 1
	var stop json.RawMessage
	var options struct {
		IncludeUsage bool `json:"include_usage"`
	}
	var seed *int64
	errs := []error{
		f.needed("model", &a.model),
		f.take("temperature", "a number from 0 to 2", &a.each.Temperature),
		f.take("top_p", "a number from 0 to 1", &a.each.TopP),
		f.take("top_k", "a whole number", &a.each.TopK),
		f.take("n", "a whole number", &a.choices),
		f.take("seed", "a whole number", &seed),
		f.take("stream", "true or false", &a.stream),
		f.take("stream_options", "an object", &options),
		f.take("stop", "a string or an array of strings", &stop),
		f.refuse("presence_penalty", "penalties are not implemented here", "0", "0.0"),
		f.refuse("frequency_penalty", "penalties are not implemented here", "0", "0.0"),
		f.refuse("logit_bias", "is not implemented here", "{}"),
	}
	for _, name := range tokens {
		var n *int
		errs = append(errs, f.take(name, "a whole number", &n))
		switch {
		case n == nil: // not given
		case *n < 1:
			errs = append(errs, scu.Errorf(scu.CodeInvalid, "must be 1 or more").At(name))
		case a.each.MaxTokens == 0: // the first
			a.each.MaxTokens = *n
		}
	}
	if !(a.each.Temperature >= 0 && a.each.Temperature <= 2) {
		errs = append(errs, scu.Errorf(scu.CodeInvalid, "must be from 0 to 2").At("temperature"))
	}
	if !(a.each.TopP >= 0 && a.each.TopP <= 1) {
		errs = append(errs, scu.Errorf(scu.CodeInvalid, "must be from 0 to 1").At("top_p"))
	}
	if a.each.TopP == 0 { // which would mean all: the likeliest alone has any share
		a.each.TopK = 1
	}
	if a.choices < 1 || a.choices > maxChoices {
		errs = append(errs, scu.Errorf(scu.CodeInvalid, "must be from 1 to %d", maxChoices).At("n"))
	}
	var err error
	if a.each.Stop, err = readStops(stop); err != nil {
		errs = append(errs, err)
	}
	if seed != nil {
		a.each.Seed = *seed
	} else {
		a.each.Seed = anySeed()
	}
	a.usage = options.IncludeUsage
	f.ignore("user", "safety_identifier", "prompt_cache_key")
	return scu.Join(errs...)
}

func readStops(v json.RawMessage) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	var list []string
	var one string
	if json.Unmarshal(v, &one) == nil {
		list = []string{one}
	} else if json.Unmarshal(v, &list) != nil {
		return nil, scu.Errorf(scu.CodeInvalid, "must be a string or an array of strings").At("stop")
	}
	if len(list) > maxStops {
		return nil, scu.Errorf(scu.CodeInvalid, "must be at most %d strings", maxStops).At("stop")
	}
	for _, s := range list {
		if s == "" {
			return nil, scu.Errorf(scu.CodeInvalid, "must not be empty").At("stop")
		}
	}
	return list, nil
}

// anySeed is one for a request that has none: its text is another each time.
func anySeed() int64 {
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err) // never, by the package's documentation
	}
	return n.Int64()
}

// answerID is the id of one answer of a model.
func answerID(prefix string) string {
	var b [12]byte
	rand.Read(b[:])
	return prefix + hex.EncodeToString(b[:])
}

// usage is what an answer took.
type usage struct {
	PromptTokens     int `json:"prompt_tokens"`
	CompletionTokens int `json:"completion_tokens"`
	TotalTokens      int `json:"total_tokens"`
}

// add counts one text. The prompt of several choices counts once.
func (u *usage) add(g scu.Generated, first bool) {
	if first {
		u.PromptTokens += g.PromptTokens
	}
	u.CompletionTokens += g.Tokens
	u.TotalTokens = u.PromptTokens + u.CompletionTokens
}

func finish(g scu.Generated) string {
	if g.Ended {
		return "stop"
	}
	return "length"
}
