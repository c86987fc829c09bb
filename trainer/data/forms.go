package data

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
)

// Forms of a row. The first three are ours; the others are widespread ones that are
// read as one of them.
const (
	formText       = "text"
	formCompletion = "prompt+completion"
	formMessages   = "messages"
	formAlpaca     = "alpaca"   // "instruction", "input", "output" (Taori et al. 2023)
	formShareGPT   = "sharegpt" // "conversations" of "from" and "value"
)

// form finds which form a row has, and reads it. A key of another form's beside one
// of ours isn't used.
func (o Options) form(ctx context.Context, row object) (document, *refusal) {
	fields := row.fields
	has := func(k string) bool { _, ok := fields[k]; return ok }
	var forms []string
	if has("text") {
		forms = append(forms, `"text"`)
	}
	if has("prompt") || has("completion") {
		forms = append(forms, `"prompt" and "completion"`)
	}
	if has("messages") {
		forms = append(forms, `"messages"`)
	}
	if len(forms) > 1 {
		return document{}, refusef(Ambiguous, "has %s; want one of them", strings.Join(forms, " as well as "))
	}
	var d document
	var p *refusal
	switch {
	case has("text"):
		d.form = formText
		d.text, p = stringField(fields, "text")
	case has("messages"):
		d, p = o.conversation(ctx, fields)
		d.form = formMessages
	case len(forms) == 1:
		d, p = o.completion(fields)
		d.form = formCompletion
	case has("instruction") && has("output"):
		d, p = o.alpaca(ctx, fields)
		d.form = formAlpaca
	case has("conversations"):
		d, p = o.shareGPT(ctx, fields)
		d.form = formShareGPT
	case slices.ContainsFunc(row.nulls, isForm):
		p = refusef(Empty, "%q is null", row.nulls[slices.IndexFunc(row.nulls, isForm)])
	default:
		p = refusef(MissingField, `has neither "text", nor "prompt" and "completion", nor "messages"%s`, keysOf(fields))
	}
	return d, p
}

// completion reads "prompt" and "completion". The prompt may be empty: style is
// taught so.
func (o Options) completion(fields map[string]json.RawMessage) (document, *refusal) {
	prompt, p := anyString(fields, "prompt")
	if p != nil {
		return document{}, p
	}
	completion, p := stringField(fields, "completion")
	return o.pair(prompt, completion), p
}

// pair is a prompt and its completion.
func (o Options) pair(prompt, completion string) document {
	d := document{text: prompt + completion, border: len(prompt)}
	if o.TrainOn != scu.TrainOnAll {
		d.counts = []span{{len(prompt), len(d.text)}}
	}
	return d
}

// The prompts of Alpaca, as published
// (github.com/tatsu-lab/stanford_alpaca, train.py).
const (
	alpacaInput = "Below is an instruction that describes a task, paired with an input that provides further context. " +
		"Write a response that appropriately completes the request.\n\n### Instruction:\n%s\n\n### Input:\n%s\n\n### Response:"
	alpacaAlone = "Below is an instruction that describes a task. " +
		"Write a response that appropriately completes the request.\n\n### Instruction:\n%s\n\n### Response:"
)

// alpaca reads a row of Alpaca: as a conversation if the model has a chat template,
// else as the published prompt and "output".
func (o Options) alpaca(ctx context.Context, fields map[string]json.RawMessage) (document, *refusal) {
	instruction, p := stringField(fields, "instruction")
	if p != nil {
		return document{}, p
	}
	input := ""
	if _, ok := fields["input"]; ok {
		if input, p = anyString(fields, "input"); p != nil {
			return document{}, p
		}
	}
	output, p := stringField(fields, "output")
	if p != nil {
		return document{}, p
	}
	if o.Template == nil {
		if blank(input) {
			return o.pair(fmt.Sprintf(alpacaAlone, instruction), output), nil
		}
		return o.pair(fmt.Sprintf(alpacaInput, instruction, input), output), nil
	}
	if !blank(input) {
		instruction += "\n" + input
	}
	return o.turns(ctx, fields, []turn{{"user", instruction}, {"assistant", output}})
}

// turn is a message of a conversation.
type turn struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// turns reads turns as "messages", after a "system" that the row may have.
func (o Options) turns(ctx context.Context, fields map[string]json.RawMessage, turns []turn) (document, *refusal) {
	if _, ok := fields["system"]; ok {
		system, p := anyString(fields, "system")
		if p != nil {
			return document{}, p
		}
		if !blank(system) {
			turns = append([]turn{{"system", system}}, turns...)
		}
	}
	raw, err := json.Marshal(turns)
	if err != nil {
		panic(err) // strings
	}
	return o.conversation(ctx, map[string]json.RawMessage{"messages": raw})
}

// shareGPTRoles are who speaks in ShareGPT's rows, as data sets name them.
var shareGPTRoles = map[string]string{
	"system": "system", "human": "user", "user": "user",
	"gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant", "bing": "assistant", "bard": "assistant", "model": "assistant",
	"tool": "tool", "observation": "tool", "function_response": "tool",
}

// shareGPT reads "conversations": of "from" and "value", or of "role" and "content"
// as some data sets have them.
func (o Options) shareGPT(ctx context.Context, fields map[string]json.RawMessage) (document, *refusal) {
	raw := fields["conversations"]
	var said []map[string]json.RawMessage
	if json.Unmarshal(raw, &said) != nil {
		return document{}, refusef(WrongType, `"conversations" is %s, want an array of objects`, typeOf(raw))
	}
	if len(said) > 0 && said[0]["from"] == nil && said[0]["role"] != nil {
		return o.conversation(ctx, map[string]json.RawMessage{"messages": raw})
	}
	turns := make([]turn, len(said))
	for i, m := range said {
		for k, v := range m {
			if string(v) == "null" {
				delete(m, k)
			}
		}
		from, p := anyString(m, "from")
		if p == nil {
			turns[i].Content, p = anyString(m, "value")
		}
		if p != nil {
			return document{}, refusef(p.kind, "entry %d of \"conversations\": %s", i+1, p.why)
		}
		if turns[i].Role = shareGPTRoles[from]; turns[i].Role == "" {
			return document{}, refusef(Chat, `entry %d of "conversations" is from %s; "system", "human", "gpt" and "tool" are known`, i+1, clip([]byte(from)))
		}
	}
	return o.turns(ctx, fields, turns)
}

// stringField reads a string that isn't blank.
func stringField(fields map[string]json.RawMessage, key string) (string, *refusal) {
	s, p := anyString(fields, key)
	if p == nil && blank(s) {
		p = refusef(Empty, "%q is empty", key)
	}
	return s, p
}

// anyString reads a string.
func anyString(fields map[string]json.RawMessage, key string) (s string, p *refusal) {
	raw, ok := fields[key]
	if !ok {
		return "", refusef(MissingField, "%q is missing", key)
	}
	if json.Unmarshal(raw, &s) != nil {
		return "", refusef(WrongType, "%q is %s, want a string", key, typeOf(raw))
	}
	return s, nil
}

// knownKeys are the keys that some form has.
var knownKeys = map[string][]string{
	formText:       {"text"},
	formCompletion: {"prompt", "completion"},
	formMessages:   {"messages", "tools"},
	formAlpaca:     {"instruction", "input", "output", "system"},
	formShareGPT:   {"conversations", "system"},
}

// isForm reports whether a key alone makes a form of ours.
func isForm(key string) bool {
	return key != "tools" && (slices.Contains(knownKeys[formText], key) || slices.Contains(knownKeys[formCompletion], key) || slices.Contains(knownKeys[formMessages], key))
}
