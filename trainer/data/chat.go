package data

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/jinja"
)

// maxMessages bounds a conversation whose turns are told apart: each is found by
// rendering and encoding what comes before it.
const maxMessages = 1000

// conversation is a row's messages.
type conversation struct {
	messages []any // as a template sees them
	turns    []message
}

// message is what is known of one of them.
type message struct {
	assistant bool
	weight    int      // 0 or 1: whether it is learned
	texts     []string // its content: one, or one a part
	parts     any      // its content if it is in parts
	calls     []string // the names of the tools that it calls
	keys      []string // those that have no meaning for us
}

// answers is how many of the messages are the assistant's.
func (c *conversation) answers() int {
	n := 0
	for _, m := range c.turns {
		if m.assistant {
			n++
		}
	}
	return n
}

// conversation reads a row of the form "messages", with "tools" if there are any.
func (o Options) conversation(ctx context.Context, fields map[string]json.RawMessage) (document, *refusal) {
	t := o.Template
	if t == nil {
		return document{}, refusef(Chat, `the model has no chat template, so "messages" can't be written as text; take the model's chat or instruct version, `+
			`put a chat_template.jinja into its folder, or write the rows as "prompt" and "completion"`)
	}
	c, p := readConversation(fields["messages"])
	if p != nil {
		return document{}, p
	}
	var tools any
	if raw, ok := fields["tools"]; ok {
		v, err := jinja.FromJSON(raw)
		l, isList := v.(jinja.List)
		if err != nil || !isList {
			return document{}, refusef(WrongType, `"tools" is %s, want an array`, typeOf(raw))
		}
		if len(l) > 0 {
			tools = l
		}
	}
	w := t.writer(ctx, tools)
	text, marks, err := w.render(c.messages, false)
	if err != nil {
		return document{}, refusef(Chat, "the model's chat template refuses it: %s", whyNot(err))
	}
	if !utf8.ValidString(text) || blank(text) {
		return document{}, refusef(Chat, "the model's chat template writes no text")
	}
	if p := c.lost(ctx, text); p != nil {
		return document{}, p
	}
	d := document{text: text, chat: true, told: t.unusedKeys(c)}
	if d.counts, p = o.learned(w, c, text, marks); p != nil {
		return document{}, p
	}
	return d, nil
}

// learned finds what of a conversation counts in the loss; nil for everything.
func (o Options) learned(w *writer, c *conversation, text string, marks []span) ([]span, *refusal) {
	masked := slices.ContainsFunc(c.turns, func(m message) bool { return m.assistant && m.weight == 0 })
	if o.TrainOn == scu.TrainOnAll && !masked {
		return nil, nil
	}
	if len(c.turns) > maxMessages {
		return nil, refusef(TooLong, "has %d messages; where turns are told apart %d are the most", len(c.turns), maxMessages)
	}
	if c.answers() == 0 && len(marks) == 0 {
		return nil, refusef(MissingField, "has no assistant's turn, and with train_on %s nothing else counts", o.TrainOn)
	}
	turns := marks // a template's own marks, if it has them
	if len(marks) == 0 {
		var err error
		if turns, err = w.assistantSpans(text, c); err != nil {
			return nil, refusef(Chat, "%s", whyNot(err))
		}
	}
	var counts []span
	switch {
	case masked:
		if len(turns) != c.answers() {
			return nil, refusef(Chat, "the model's chat template marks %d parts of %d assistant's turns, so \"weight\" can't be told apart", len(turns), c.answers())
		}
		if o.TrainOn == scu.TrainOnAll {
			counts = c.unmasked(turns, len(text))
		} else if counts = c.weighted(turns); o.TrainOn == scu.TrainOnLast && len(counts) > 0 {
			counts = counts[len(counts)-1:]
		}
	case o.TrainOn == scu.TrainOnLast:
		counts = turns[len(turns)-1:]
	default:
		counts = turns
	}
	if len(counts) == 0 {
		return nil, refusef(MissingField, `has no assistant's turn that counts: each has "weight" 0`)
	}
	return counts, nil
}

// weighted are the turns whose weight is 1.
func (c *conversation) weighted(turns []span) []span {
	var counts []span
	i := 0
	for _, m := range c.turns {
		if !m.assistant {
			continue
		}
		if m.weight == 1 {
			counts = append(counts, turns[i])
		}
		i++
	}
	return counts
}

// unmasked is all of n bytes but the turns whose weight is 0.
func (c *conversation) unmasked(turns []span, n int) []span {
	var counts []span
	i, done := 0, 0
	for _, m := range c.turns {
		if !m.assistant {
			continue
		}
		if m.weight == 0 {
			if turns[i].from > done {
				counts = append(counts, span{done, turns[i].from})
			}
			done = max(done, turns[i].to)
		}
		i++
	}
	if done < n {
		counts = append(counts, span{done, n})
	}
	return counts
}

// lost finds what a template left out of the text that it wrote: what a message
// says, or the tools that it calls. Reasoning may go, and white space.
func (c *conversation) lost(ctx context.Context, text string) *refusal {
	written := packed(text)
	from := 0
	holds := func(s string) bool {
		s = packed(s)
		for _, at := range []int{from, 0} {
			if i := strings.Index(written[at:], s); i >= 0 {
				from = at + i + len(s)
				return true
			}
		}
		return false
	}
	for i, m := range c.turns {
		if ctx.Err() != nil {
			return refusef(Chat, "%s", ctx.Err())
		}
		for _, s := range m.texts {
			if !holds(s) && !holds(withoutReasoning(s)) && !holds(inJSON(s)) {
				return refusef(Chat, "the model's chat template leaves out what message %d says, %s", i+1, clip([]byte(s)))
			}
		}
		for _, name := range m.calls {
			if !holds(name) {
				return refusef(Chat, "the model's chat template leaves out that message %d calls %s: it isn't one for tool calls", i+1, clip([]byte(name)))
			}
		}
		if m.parts != nil {
			if s, err := jinja.Text(m.parts); err != nil || strings.Contains(text, s) {
				return refusef(Chat, "the model's chat template doesn't know \"content\" in parts, as message %d has it; write its text as a string", i+1)
			}
		}
	}
	return nil
}

// withoutReasoning is what follows a message's reasoning.
func withoutReasoning(s string) string {
	const end = "</think>"
	if i := strings.LastIndex(s, end); i >= 0 {
		return s[i+len(end):]
	}
	return s
}

// packed is s without white space.
func packed(s string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsSpace(c) {
			return -1
		}
		return c
	}, s)
}

// inJSON is s as it stands in a JSON string.
func inJSON(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string
	return strings.Trim(b.String(), "\"\n")
}

// messageKeys are the keys that a message is known to have.
var messageKeys = []string{"role", "content", "weight", "name", "tool_calls", "tool_call_id", "reasoning_content", "reasoning", "thinking"}

// unusedKeys tells of keys that neither the template nor we know.
func (t *ChatTemplate) unusedKeys(c *conversation) []refusal {
	var told []refusal
	for _, m := range c.turns {
		for _, k := range m.keys {
			why := fmt.Sprintf("the key %s of a message is not used", clip([]byte(k)))
			if len(told) < maxUnknownKeys && !strings.Contains(t.source, k) && !slices.Contains(told, refusal{UnknownKey, why}) {
				told = append(told, refusal{UnknownKey, why})
			}
		}
	}
	return told
}

// readConversation checks what every template takes for granted.
func readConversation(raw json.RawMessage) (*conversation, *refusal) {
	v, err := jinja.FromJSON(raw)
	messages, ok := v.(jinja.List)
	if err != nil || !ok {
		return nil, refusef(WrongType, `"messages" is %s, want an array`, typeOf(raw))
	}
	if len(messages) == 0 {
		return nil, refusef(Empty, `"messages" is empty`)
	}
	c := &conversation{}
	for i, v := range messages {
		dict, ok := v.(*jinja.Dict)
		if !ok {
			return nil, refusef(WrongType, "message %d is not an object", i+1)
		}
		m, p := readMessage(dict, i+1)
		if p != nil {
			return nil, p
		}
		c.messages, c.turns = append(c.messages, asTransformers(dict)), append(c.turns, m)
	}
	return c, nil
}

func readMessage(dict *jinja.Dict, number int) (m message, p *refusal) {
	role, _ := dict.Get("role")
	name, _ := role.(string)
	if name == "" {
		return m, refusef(MissingField, `message %d has no "role"`, number)
	}
	m.assistant = name == "assistant"
	if m.weight, p = readWeight(dict, m.assistant, number); p != nil {
		return m, p
	}
	if m.calls, p = readCalls(dict, number); p != nil {
		return m, p
	}
	for _, k := range dict.Keys() {
		if !slices.Contains(messageKeys, k) {
			m.keys = append(m.keys, k)
		}
	}
	switch content, _ := dict.Get("content"); content := content.(type) {
	case nil:
		if len(m.calls) == 0 {
			return m, refusef(MissingField, `message %d has no "content"`, number)
		}
	case string:
		m.texts = []string{content}
	case jinja.List:
		m.parts = content
		if m.texts, p = readParts(content, number); p != nil {
			return m, p
		}
	default:
		return m, refusef(WrongType, `"content" of message %d is neither a string nor an array of parts`, number)
	}
	if m.assistant && len(m.calls) == 0 && !slices.ContainsFunc(m.texts, func(s string) bool { return !blank(s) }) {
		return m, refusef(Empty, `"content" of message %d, the assistant's, is empty`, number)
	}
	return m, nil
}

// readWeight reads "weight", as OpenAI and Mistral define it.
func readWeight(dict *jinja.Dict, assistant bool, number int) (int, *refusal) {
	v, ok := dict.Get("weight")
	w, whole := v.(int64)
	if f, isFloat := v.(float64); isFloat && f == float64(int64(f)) {
		w, whole = int64(f), true
	}
	switch {
	case !ok || v == nil:
		return 1, nil
	case !whole || w != 0 && w != 1:
		return 0, refusef(WrongType, `"weight" of message %d is neither 0 nor 1`, number)
	case w == 1 && !assistant:
		return 0, refusef(WrongType, `"weight" of message %d is 1, which isn't the assistant's; only those are learned`, number)
	}
	return int(w), nil
}

// readParts reads content in parts; text alone can be trained on.
func readParts(parts jinja.List, number int) (texts []string, p *refusal) {
	for i, v := range parts {
		part, _ := v.(*jinja.Dict)
		if part == nil {
			return nil, refusef(WrongType, `part %d of "content" of message %d is not an object`, i+1, number)
		}
		kind, hasKind := part.Get("type")
		if name, _ := kind.(string); hasKind && name != "text" {
			return nil, refusef(WrongType, `part %d of "content" of message %d is of type %s; text alone can be trained on`, i+1, number, clip([]byte(name)))
		}
		text, ok := part.Get("text")
		s, isString := text.(string)
		if !ok || !isString {
			return nil, refusef(MissingField, `part %d of "content" of message %d has no "text"`, i+1, number)
		}
		texts = append(texts, s)
	}
	return texts, nil
}

// readCalls reads the names of the tools that a message calls.
func readCalls(dict *jinja.Dict, number int) (names []string, p *refusal) {
	v, _ := dict.Get("tool_calls")
	if v == nil {
		return nil, nil
	}
	calls, ok := v.(jinja.List)
	if !ok {
		return nil, refusef(WrongType, `"tool_calls" of message %d is not an array`, number)
	}
	for i, v := range calls {
		call, _ := v.(*jinja.Dict)
		if call == nil {
			return nil, refusef(WrongType, "tool call %d of message %d is not an object", i+1, number)
		}
		if f, ok := call.Get("function"); ok {
			call, _ = f.(*jinja.Dict)
		}
		var name string
		if call != nil {
			v, _ := call.Get("name")
			name, _ = v.(string)
		}
		if name == "" {
			return nil, refusef(MissingField, `tool call %d of message %d has no name`, i+1, number)
		}
		names = append(names, name)
	}
	return names, nil
}

// asTransformers gives a message as Transformers shows it to a template: without
// keys that are null, and with its reasoning under each of its usual names. Our own
// key goes.
func asTransformers(m *jinja.Dict) *jinja.Dict {
	var reasoning any
	for _, k := range []string{"reasoning_content", "thinking", "reasoning"} {
		if v, _ := m.Get(k); v != nil && reasoning == nil {
			reasoning = v
		}
	}
	out := &jinja.Dict{}
	if reasoning != nil {
		out.Set("thinking", reasoning)
	}
	for _, k := range m.Keys() {
		if v, _ := m.Get(k); v != nil && k != "weight" {
			out.Set(k, v)
		}
	}
	if reasoning != nil {
		out.Set("reasoning_content", reasoning)
	}
	return out
}
