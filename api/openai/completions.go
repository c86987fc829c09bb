package openai

import (
	"context"
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// defaultTokens is how long a completion is unless a bound is given, as OpenAI's.
const defaultTokens = 16

type textChoice struct {
	Text         string        `json:"text"`
	Index        int           `json:"index"`
	Logprobs     *textLogprobs `json:"logprobs"`
	FinishReason *string       `json:"finish_reason"`

	offset int // characters of the tokens so far
}

type textLogprobs struct {
	Tokens        []string             `json:"tokens"`
	TokenLogprobs []float64            `json:"token_logprobs"`
	TopLogprobs   []map[string]float64 `json:"top_logprobs"`
	TextOffset    []int                `json:"text_offset"`
}

func (h *handler) complete(c echo.Context) error {
	f, err := readFields(c)
	if err != nil {
		return err
	}
	var a asked
	var prompt json.RawMessage
	var echoed bool
	var logprobs *int
	best := 1
	err = scu.Join(
		f.readSampling(&a, "max_tokens"),
		f.take("prompt", "a text", &prompt),
		f.take("echo", "true or false", &echoed),
		f.take("logprobs", "a whole number", &logprobs),
		f.take("best_of", "a whole number", &best),
		f.refuse("suffix", "texts are continued here, not filled in", `""`),
		f.rest(),
	)
	if err != nil {
		return err
	}
	switch {
	case logprobs != nil && (*logprobs < 0 || *logprobs > maxTop):
		return scu.Errorf(scu.CodeInvalid, "must be from 0 to %d", maxTop).At("logprobs")
	case best != 1 && best != a.choices:
		return scu.Errorf(scu.CodeUnsupported, "is not implemented here").At("best_of").WithHint("use n")
	case echoed && logprobs != nil:
		return scu.Errorf(scu.CodeUnsupported, "the prompt has no log probabilities here").At("echo").WithHint("leave out echo or logprobs")
	}
	if a.each.MaxTokens == 0 {
		a.each.MaxTokens = defaultTokens
	}
	if logprobs != nil {
		a.each.Alternatives = *logprobs
	}
	prompts, err := readPrompts(prompt)
	if err != nil {
		return err
	}
	if echoed && prompts[0].tokens != nil {
		return scu.Errorf(scu.CodeUnsupported, "a prompt of tokens can't be told again here").At("echo").WithHint("leave it out, or send the prompt as a text")
	}
	if err := h.choose(c.Request().Context(), &a); err != nil {
		return err
	}
	out := completion[textChoice]{ID: answerID("cmpl-"), Object: "text_completion", Created: time.Now().Unix(), Model: a.model}
	var drafts []draft[textChoice]
	for i, p := range prompts {
		for n := range a.choices {
			g := a.each
			g.Prompt, g.Tokens = p.text, p.tokens
			g.Seed += int64(n)
			d := draft[textChoice]{g: g, choice: textChoice{Index: i*a.choices + n}, first: n == 0}
			if echoed {
				d.text = p.text
			}
			drafts = append(drafts, d)
		}
	}
	return answer(h, c, "completions", a, out, drafts)
}

func (x *textChoice) hear(t scu.TokenChance) {
	if x.Logprobs == nil {
		x.Logprobs = &textLogprobs{}
	}
	x.Logprobs.add(t, x.offset)
	x.offset += utf8.RuneCountInString(t.Text)
}

func (x *textChoice) heard() bool { return x.Logprobs != nil }

func (x *textChoice) opening() *textChoice { return nil }

func (x *textChoice) chunk(text string) textChoice {
	part := *x
	part.Text = text
	x.Logprobs = nil
	return part
}

func (x *textChoice) end(text, reason string, _ bool) { x.FinishReason, x.Text = &reason, text }

// generationFields are names of a generation's fields in requests.
var generationFields = map[string]string{"base_model": "model", "adapter": "model"}

// choose finds the model that is asked for.
func (h *handler) choose(ctx context.Context, a *asked) (err error) {
	if id, step, ok := readModel(a.model); ok {
		j, key, err := h.adapterOf(ctx, a.model, id, step)
		if err != nil {
			return err
		}
		a.model = h.adapterModel(j, step)
		a.each.BaseModel, a.each.Adapter = j.Config.Base(), key
		return nil
	}
	a.each.BaseModel, err = h.baseOf(ctx, a.model)
	return err
}

func (l *textLogprobs) add(t scu.TokenChance, offset int) {
	l.Tokens, l.TokenLogprobs, l.TextOffset = append(l.Tokens, t.Text), append(l.TokenLogprobs, t.LogProb), append(l.TextOffset, offset)
	top := map[string]float64{}
	for _, o := range t.Others {
		top[o.Text] = o.LogProb
	}
	l.TopLogprobs = append(l.TopLogprobs, top)
}

// prompt is a text or its tokens.
type prompt struct {
	text   string
	tokens []int32
}

// readPrompts reads a text, several, the tokens of one, or of several.
func readPrompts(v json.RawMessage) (out []prompt, err error) {
	var text string
	var texts []string
	var tokens []int32
	var several [][]int32
	switch {
	case v == nil:
		return nil, scu.Errorf(scu.CodeInvalid, "is missing").At("prompt")
	case json.Unmarshal(v, &text) == nil:
		out = []prompt{{text: text}}
	case json.Unmarshal(v, &texts) == nil:
		for _, t := range texts {
			out = append(out, prompt{text: t})
		}
	case json.Unmarshal(v, &tokens) == nil:
		out = []prompt{{tokens: tokens}}
	case json.Unmarshal(v, &several) == nil:
		for _, t := range several {
			out = append(out, prompt{tokens: t})
		}
	default:
		return nil, scu.Errorf(scu.CodeInvalid, "must be a text, its tokens, or an array of either").At("prompt")
	}
	if len(out) == 0 || len(out) > maxPrompts {
		return nil, scu.Errorf(scu.CodeInvalid, "must be 1 to %d prompts", maxPrompts).At("prompt")
	}
	return out, nil
}
