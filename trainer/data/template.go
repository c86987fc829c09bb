package data

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/jinja"
)

// ChatTemplate is a model's way to write a conversation as one text: a Jinja2
// template that comes with the model. It is safe for concurrent use.
type ChatTemplate struct {
	plain, tools *jinja.Template // for conversations without tools and with
	source       string          // of both
	special      map[string]any  // bos_token and its like
	err          error           // why the template can't be used
	digest       string          // of all that was read
}

// maxTemplateFile bounds each of a model's files that is read, in bytes.
const maxTemplateFile = 16 << 20

// LoadChatTemplate reads the chat template of a model folder: chat_template.jinja,
// or chat_template of tokenizer_config.json, one or several by name, of which
// "default" and "tool_use" are used. It is nil if the model has none. A template
// that can't be used is an error only to conversations.
func LoadChatTemplate(dir string) (*ChatTemplate, error) {
	var config json.RawMessage // chat_template of tokenizer_config.json
	special := map[string]any{}
	for _, name := range []string{"special_tokens_map.json", "tokenizer_config.json"} {
		raw, err := readSmall(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		if raw == nil {
			continue
		}
		var all map[string]json.RawMessage
		if err := json.Unmarshal(raw, &all); err != nil {
			return nil, scu.Errorf(scu.CodeInvalid, "%s of the model is no JSON object: %w", name, err)
		}
		config = all["chat_template"]
		addSpecial(special, all)
	}
	sources := map[string]string{}
	if raw, err := readSmall(filepath.Join(dir, "chat_template.jinja")); err != nil {
		return nil, err
	} else if raw != nil {
		sources["default"] = string(raw)
	} else if err := readSources(sources, config); err != nil {
		return nil, err
	}
	if sources["default"] == "" {
		return nil, nil
	}
	return newChatTemplate(sources, special), nil
}

// newChatTemplate compiles templates by name.
func newChatTemplate(sources map[string]string, special map[string]any) *ChatTemplate {
	b, err := json.Marshal([]any{sources, special})
	if err != nil {
		panic(err) // strings
	}
	sum := sha256.Sum256(b)
	t := &ChatTemplate{special: special, source: sources["default"] + sources["tool_use"], digest: hex.EncodeToString(sum[:])}
	if t.plain, t.err = jinja.Parse(sources["default"]); t.err != nil {
		return t
	}
	t.tools = t.plain
	if s := sources["tool_use"]; s != "" {
		t.tools, t.err = jinja.Parse(s)
	}
	return t
}

// readSmall reads a file; nil if there is none.
func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTemplateFile+1))
	if err != nil {
		return nil, fmt.Errorf("chat template: %w", err)
	}
	if len(b) > maxTemplateFile {
		return nil, scu.Errorf(scu.CodeInvalid, "%s of the model has more than 16 MiB", filepath.Base(path))
	}
	return b, nil
}

// addSpecial collects the special tokens that templates may name: strings, or
// objects with their content.
func addSpecial(special map[string]any, all map[string]json.RawMessage) {
	for _, k := range []string{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"} {
		var s string
		var o struct{ Content string }
		switch raw := all[k]; {
		case json.Unmarshal(raw, &s) == nil && s != "":
			special[k] = s
		case json.Unmarshal(raw, &o) == nil && o.Content != "":
			special[k] = o.Content
		}
	}
}

// readSources reads chat_template of tokenizer_config.json.
func readSources(sources map[string]string, raw json.RawMessage) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		sources["default"] = one
		return nil
	}
	var named []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &named); err != nil {
		return scu.Errorf(scu.CodeInvalid, "chat_template of tokenizer_config.json is neither a string nor a list of named templates: %w", err)
	}
	for _, t := range named {
		sources[t.Name] = t.Template
	}
	return nil
}

// writer renders a conversation, again and again for its parts, within one budget.
type writer struct {
	ctx    context.Context
	t      *ChatTemplate
	tools  any
	limits jinja.Limits
}

func (t *ChatTemplate) writer(ctx context.Context, tools any) *writer {
	return &writer{ctx, t, tools, jinja.DefaultLimits}
}

// render writes messages; prompt adds what comes before the assistant's next turn.
// The spans are those of {% generation %} blocks.
func (w *writer) render(messages []any, prompt bool) (string, []span, error) {
	if w.t.err != nil {
		return "", nil, w.t.err
	}
	template := w.t.plain
	if w.tools != nil {
		template = w.t.tools
	}
	vars := map[string]any{"messages": jinja.List(messages), "tools": w.tools, "documents": nil, "add_generation_prompt": prompt}
	for k, v := range w.t.special {
		vars[k] = v
	}
	out, err := template.Render(w.ctx, vars, w.limits)
	if err != nil {
		return "", nil, err
	}
	w.limits.Steps -= out.Steps
	spans := make([]span, len(out.Generated))
	for i, s := range out.Generated {
		spans[i] = span{s.From, s.To}
	}
	return out.Text, spans, nil
}

// Prompt writes a conversation, a JSON array of messages, up to where the assistant
// goes on.
func (t *ChatTemplate) Prompt(ctx context.Context, messages []byte) (string, error) {
	if !json.Valid(messages) {
		return "", scu.Errorf(scu.CodeInvalid, "the messages are no JSON")
	}
	c, p := readConversation(messages)
	if p == nil && c.answers() > 0 && c.turns[len(c.turns)-1].assistant {
		p = refusef(Chat, "the last message is the assistant's own; there is nothing to answer")
	}
	if p != nil {
		return "", scu.Errorf(scu.CodeInvalid, "the conversation can't be used: %s", p.why)
	}
	text, _, err := t.writer(ctx, nil).render(c.messages, true)
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", scu.Errorf(scu.CodeInvalid, "the model's chat template refuses it: %s", whyNot(err))
	}
	if p := c.lost(ctx, text); p != nil {
		return "", scu.Errorf(scu.CodeInvalid, "the conversation can't be used: %s", p.why)
	}
	return text, nil
}

// whyNot is a template's error, bounded, with its place if it isn't meant for those
// who wrote the conversation.
func whyNot(err error) string {
	e := (*jinja.Error)(nil)
	if !errors.As(err, &e) {
		return err.Error()
	}
	s := e.Message
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	if e.Raised {
		return s
	}
	return fmt.Sprintf("%s (line %d, column %d of the template)", s, e.Line, e.Column)
}
