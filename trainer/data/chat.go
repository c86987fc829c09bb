package data

import (
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
	"unicode/utf8"

	"github.com/shannon-control/scu"

	"github.com/nikolalohinski/gonja/v2/exec"
)

// ChatTemplate is a model's way to write a conversation as one text: a Jinja2
// template that comes with the model. It is safe for concurrent use.
type ChatTemplate struct {
	plain, tools *exec.Template // for conversations without tools and with
	special      map[string]any // bos_token and its like
	err          error          // why the template can't be used
	generation   bool           // it marks what the assistant says by itself
	digest       string         // of all that was read
}

const (
	maxTemplateFile = 16 << 20 // bytes of each of a model's files that is read
	// maxMessages bounds a conversation of which only the assistant's turns count:
	// each turn is found by rendering and encoding what comes before it.
	maxMessages = 1000
)

// LoadChatTemplate reads the chat template of a model folder: chat_template.jinja,
// or chat_template of tokenizer_config.json, one or several by name, of which
// "default" and "tool_use" are used. It is nil where the model has none. A template
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
	t := &ChatTemplate{special: special, digest: hex.EncodeToString(sum[:])}
	t.generation = strings.Contains(sources["default"], "endgeneration")
	if t.plain, t.err = parseTemplate(sources["default"]); t.err != nil {
		return t
	}
	t.tools = t.plain
	if s := sources["tool_use"]; s != "" {
		t.tools, t.err = parseTemplate(s)
	}
	return t
}

// readSmall reads a file; nil where there is none.
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

// render writes a conversation; prompt adds what comes before the assistant's next
// turn. The spans are those of {% generation %} blocks.
func (t *ChatTemplate) render(messages list, tools any, prompt bool) (string, []span, error) {
	if t.err != nil {
		return "", nil, t.err
	}
	template := t.plain
	if tools != nil {
		template = t.tools
	}
	vars := map[string]any{"messages": messages, "tools": tools, "documents": nil, "add_generation_prompt": prompt, meterName: &meter{}}
	for k, v := range t.special {
		vars[k] = v
	}
	var out output
	_, err := recovered(func() (any, error) { return nil, template.Execute(&out, exec.NewContext(vars)) })
	if err != nil {
		return "", nil, err
	}
	return out.String(), out.generated, nil
}

// assistantSpans finds the assistant's turns in full, the rendering of messages,
// for a template that doesn't mark them. A turn begins behind what the template
// writes for the assistant to go on from, and holds what the template then writes
// for it, its end mark included. Of a turn that is written shorter once others
// follow it (reasoning is left out of the history) it is what is left.
func (t *ChatTemplate) assistantSpans(full string, messages list, tools any) ([]span, error) {
	eos, _ := t.special["eos_token"].(string)
	var spans []span
	for i, m := range messages {
		if roleOf(m) != "assistant" {
			continue
		}
		start, known := 0, i == 0
		for _, prompt := range []bool{true, false} {
			if known {
				break // what the template writes for the assistant includes what stands before it
			}
			before, _, err := t.render(messages[:i], tools, prompt)
			if err != nil {
				return nil, err
			}
			start, known = max(start, commonPrefix(full, before)), strings.HasPrefix(full, before)
		}
		turn := full
		if i+1 < len(messages) {
			var err error
			if turn, _, err = t.render(messages[:i+1], tools, false); err != nil {
				return nil, err
			}
		}
		n := 0
		if known && len(turn) > start && turn[:start] == full[:start] {
			turn, rest := turn[start:], full[start:]
			// Some templates (Phi-3's) end every conversation with eos_token.
			n = max(overlap(turn, rest), overlap(strings.TrimSuffix(turn, eos), rest))
		}
		if n == 0 {
			return nil, errors.New("the model's chat template doesn't write the turns one after the other, so the assistant's can't be told apart")
		}
		spans = append(spans, span{start, start + n})
	}
	return spans, nil
}

// commonPrefix is the length of the longest common prefix, in whole characters.
func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	for n < len(a) && n > 0 && !utf8.RuneStart(a[n]) {
		n--
	}
	return n
}

// overlap is the length of the longest suffix of a that is a prefix of b (by the
// prefix function of Knuth, Morris and Pratt, in linear time).
func overlap(a, b string) int {
	b = b[:min(len(a), len(b))]
	if strings.HasSuffix(a, b) {
		return len(b)
	}
	fail := make([]int, len(b)+1) // fail[i]: longest proper prefix of b[:i] that ends it
	for i, k := 1, 0; i < len(b); i++ {
		for k > 0 && b[k] != b[i] {
			k = fail[k]
		}
		if b[k] == b[i] {
			k++
		}
		fail[i+1] = k
	}
	k := 0
	for i := range len(a) {
		for k > 0 && (k == len(b) || b[k] != a[i]) {
			k = fail[k]
		}
		if b[k] == a[i] {
			k++
		}
	}
	return k
}

func roleOf(message any) string { return stringOf(message, "role") }

func stringOf(message any, key string) string {
	if v, ok := exec.AsValue(message).GetItem(key); ok && v.IsString() {
		return v.String()
	}
	return ""
}

// conversation reads a row of the form "messages", with "tools" where there are.
func (o Options) conversation(fields map[string]json.RawMessage) (document, *refusal) {
	t := o.Template
	if t == nil {
		return document{}, refusef(Chat, `the model has no chat template for "messages"; use "text", or "prompt" and "completion"`)
	}
	messages, p := readMessages(fields["messages"])
	if p != nil {
		return document{}, p
	}
	var tools any
	if raw, ok := fields["tools"]; ok {
		v, err := fromJSON(raw)
		l, isList := v.(list)
		if err != nil || !isList {
			return document{}, refusef(WrongType, `"tools" is %s, want an array`, typeOf(raw))
		}
		if len(l) > 0 {
			tools = l
		}
	}
	text, spans, err := t.render(messages, tools, false)
	if err != nil {
		return document{}, refusef(Chat, "the model's chat template refuses it: %s", lastLine(err))
	}
	if !utf8.ValidString(text) || blank(text) {
		return document{}, refusef(Chat, "the model's chat template writes no text")
	}
	d := document{text: text, chat: true}
	if o.TrainOn != scu.TrainOnCompletion {
		return d, nil
	}
	if len(messages) > maxMessages {
		return document{}, refusef(TooLong, "has %d messages; with train_on completion %d are the most", len(messages), maxMessages)
	}
	if !t.generation {
		if spans, err = t.assistantSpans(text, messages, tools); err != nil {
			return document{}, refusef(Chat, "%s", lastLine(err))
		}
	}
	if len(spans) == 0 {
		return document{}, refusef(MissingField, "has no assistant's turn, and with train_on completion nothing else counts")
	}
	d.counts = spans
	return d, nil
}

// readMessages checks what every template takes for granted.
func readMessages(raw json.RawMessage) (list, *refusal) {
	v, err := fromJSON(raw)
	messages, ok := v.(list)
	if err != nil || !ok {
		return nil, refusef(WrongType, `"messages" is %s, want an array`, typeOf(raw))
	}
	if len(messages) == 0 {
		return nil, refusef(Empty, `"messages" is empty`)
	}
	for i, m := range messages {
		dict, ok := m.(*exec.Dict)
		if !ok {
			return nil, refusef(WrongType, "message %d is not an object", i+1)
		}
		role, content := stringOf(dict, "role"), dict.Get(exec.AsValue("content"))
		calls := dict.Get(exec.AsValue("tool_calls")).IsTrue()
		switch {
		case role == "":
			return nil, refusef(MissingField, `message %d has no "role"`, i+1)
		case content.IsNil() && calls:
		case content.IsNil():
			return nil, refusef(MissingField, `message %d has no "content"`, i+1)
		case !content.IsString():
			return nil, refusef(WrongType, `"content" of message %d is not a string`, i+1)
		case role == "assistant" && blank(content.String()) && !calls:
			return nil, refusef(Empty, `"content" of message %d, the assistant's, is empty`, i+1)
		}
	}
	return messages, nil
}

// lastLine is the cause at the end of gonja's chain of contexts, bounded.
func lastLine(err error) string {
	s := err.Error()
	s = s[strings.LastIndex(s, "\n")+1:]
	if i := strings.LastIndex(s, ": "); i >= 0 {
		s = s[i+2:]
	}
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}
