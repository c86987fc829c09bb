package data

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/jinja"
)

// The special tokens of testdata/generate.py.
var chatSpecial = map[string]any{"bos_token": "<s>", "eos_token": "</s>"}

func readJSON(t testing.TB, path string, v any) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		t.Fatal(err)
	}
}

func chatTemplate(t testing.TB, family string) *ChatTemplate {
	t.Helper()
	path := filepath.Join("../jinja/testdata/chat", family+".jinja")
	if family == "bookworm-2m" {
		path = "../../models/bookworm-2m/chat_template.jinja"
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := newChatTemplate(map[string]string{"default": string(source)}, chatSpecial)
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c
}

// chat is an entry of conversations.json.
type chat struct {
	*conversation
	tools any
}

func conversations(t testing.TB) map[string]chat {
	t.Helper()
	var raw map[string]struct{ Messages, Tools json.RawMessage }
	readJSON(t, "../jinja/testdata/chat/conversations.json", &raw)
	all := map[string]chat{}
	for name, c := range raw {
		messages, p := readConversation(c.Messages)
		if p != nil {
			t.Fatal(p.why)
		}
		one := chat{conversation: messages}
		if c.Tools != nil {
			var err error
			if one.tools, err = jinja.FromJSON(c.Tools); err != nil {
				t.Fatal(err)
			}
		}
		all[name] = one
	}
	return all
}

// oneTemplate is a template that a model's only one is.
func oneTemplate(source string) *ChatTemplate {
	return newChatTemplate(map[string]string{"default": source}, chatSpecial)
}

// What Transformers renders of these conversations, character for character; and
// what it refuses.
func TestConversationsAsInTransformers(t *testing.T) {
	var expected map[string]map[string]*struct{ Text, Prompted string }
	readJSON(t, "../jinja/testdata/chat/expected.json", &expected)
	chats := conversations(t)
	for family, rows := range expected {
		template := chatTemplate(t, family)
		for name, want := range rows {
			w := template.writer(context.Background(), chats[name].tools)
			text, _, err := w.render(chats[name].messages, false)
			if want == nil {
				if err == nil {
					t.Errorf("%s/%s: rendered %q, Transformers refuses", family, name, text)
				}
				continue
			}
			if err != nil || text != want.Text {
				t.Errorf("%s/%s: %v\n%q\nwant\n%q", family, name, err, text, want.Text)
			}
			if text, _, err := w.render(chats[name].messages, true); err != nil || text != want.Prompted {
				t.Errorf("%s/%s, with the prompt: %v\n%q\nwant\n%q", family, name, err, text, want.Prompted)
			}
		}
	}
}

func TestAssistantSpans(t *testing.T) {
	chats := conversations(t)
	for _, c := range []struct {
		family, chat string
		want         []string
	}{
		{"chatml", "four_turns", []string{"b<|im_end|>\n", "b<|im_end|>\n"}},
		{"chatml", "assistant_first", []string{"<|im_start|>assistant\nWelcome!<|im_end|>\n"}},
		{"chatml", "one_user_turn", nil},
		{"llama2", "four_turns", []string{" b </s>", " b </s>"}},
		{"llama2", "system_and_four_turns", []string{" Arr! I be <b>\"Cap'n\" & co</b>. </s>", " At sea.\n\nAlways at sea. </s>"}},
		{"llama3", "four_turns", []string{"b<|eot_id|>", "b<|eot_id|>"}},
		{"llama3.2", "four_turns", []string{"b<|eot_id|>", "b<|eot_id|>"}},
		{"gemma", "four_turns", []string{"b<end_of_turn>\n", "b<end_of_turn>\n"}},
		{"gemma3", "system_and_four_turns", []string{"Arr! I be <b>\"Cap'n\" & co</b>.<end_of_turn>\n", "At sea.\n\nAlways at sea.<end_of_turn>\n"}},
		{"mistral", "four_turns", []string{"b</s>", "b</s>"}},
		{"mistral-v0.3", "four_turns", []string{" b</s>", " b</s>"}},
		{"phi3", "four_turns", []string{"b<|end|>\n", "b<|end|>\n</s>"}},
		{"zephyr", "four_turns", []string{"b</s>\n", "b</s>\n"}},
		{"olmo2", "four_turns", []string{"b</s>", "b</s>"}},
		{"qwen2.5", "tools", []string{
			"<tool_call>\n{\"name\": \"weather\", \"arguments\": {\"place\": \"Bergen\", \"days\": 1}}\n</tool_call><|im_end|>\n",
			"Yes, as ever.<|im_end|>\n"}},
		{"qwen3", "four_turns", []string{"b<|im_end|>\n", "<think>\n\n</think>\n\nb<|im_end|>\n"}},
		{"qwen3", "reasoning", []string{"42<|im_end|>\n", "<think>\nTwice.\n</think>\n\n84<|im_end|>\n"}},
		{"deepseek-r1", "reasoning", []string{"\n\n42<｜end▁of▁sentence｜>", "\n\n84<｜end▁of▁sentence｜>"}},
		{"marked", "four_turns", []string{"\nb<|im_end|>\n\n", "\nb<|im_end|>\n\n"}},
	} {
		t.Run(c.family+"/"+c.chat, func(t *testing.T) {
			chat := chats[c.chat]
			w := chatTemplate(t, c.family).writer(context.Background(), chat.tools)
			full, _, err := w.render(chat.messages, false)
			if err != nil {
				t.Fatal(err)
			}
			spans, err := w.assistantSpans(full, chat.conversation)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range spans {
				got = append(got, full[s.from:s.to])
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("turns %q, want %q", got, c.want)
			}
		})
	}
}

// A template that puts what was said elsewhere once more is said.
func TestTurnsThatMoveAreRefused(t *testing.T) {
	template := newChatTemplate(map[string]string{"default": `{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}`}, nil)
	chat := conversations(t)["four_turns"]
	w := template.writer(context.Background(), nil)
	full, _, err := w.render(chat.messages, false)
	if err != nil {
		t.Fatal(err)
	}
	if spans, err := w.assistantSpans(full, chat.conversation); err == nil {
		t.Errorf("turns at %v", spans)
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"abc", "abcd", 3}, {"xxab", "abab", 2}, {"xabab", "ababc", 4}, {"abc", "xyz", 0}, {"aaa", "aa", 2},
		{"", "a", 0}, {"a", "", 0}, {"aabaab", "aabaac", 3}, {"abcabc", "abc", 3}, {"ab", "ba", 1},
	} {
		if got := overlap(c.a, c.b); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.a, c.b, got, c.want)
		}
	}
}

// A conversation of two turns, as tokens: what the assistant says counts. It ends as
// the template ends it.
func TestConversationTargets(t *testing.T) {
	o := Options{BlockSize: 100, TrainOn: scu.TrainOnCompletion, BOS: []int32{7},
		Template: newChatTemplate(map[string]string{"default": `{{ bos_token }}{% for m in messages %}{{ m.role[0] + ':' + m.content }};{% if not loop.last %} {% endif %}{% endfor %}` +
			`{% if add_generation_prompt %} a:{% endif %}`}, chatSpecial)}
	const row = `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"the yes"},{"role":"user","content":"r"},{"role":"assistant","content":"no"}]}`
	d, _ := open(t, "a.jsonl", row, letters{}, o)
	ids, targets := all(t, d)
	if got := (letters{}).Decode(ids[0], false); got != "<s>u:q; a:the yes; u:r; a:no;" {
		t.Fatalf("text %q", got)
	}
	var counted []int32
	for _, id := range targets[0] {
		if id >= 0 {
			counted = append(counted, id)
		}
	}
	if got := (letters{}).Decode(counted, false); got != "the yes;no;" {
		t.Errorf("counts %q", got)
	}

	o.TrainOn = scu.TrainOnAll
	d, r := open(t, "a.jsonl", row, letters{}, o)
	if r.Targets != r.Tokens-1 || d.Tokens() != int64(len(ids[0])) {
		t.Errorf("with train_on all: %+v", r)
	}
}

// A template that writes much for short rows gives what it should, though a batch's
// documents aren't all held at once.
func TestTemplateThatWritesMuch(t *testing.T) {
	const rows, words = 40, 250_000
	o := options(512)
	o.Template = newChatTemplate(map[string]string{"default": `{% for i in range(1000) %}{{ messages[0].content }}{% endfor %}`}, nil)
	row := `{"messages":[{"role":"user","content":"` + strings.Repeat("the ", words/1000) + `"}]}` + "\n"
	_, r := open(t, "a.jsonl", strings.Repeat(row, rows), letters{}, o)
	if want := int64(rows * words); r.Documents != rows || r.Tokens+r.LeftOut != want {
		t.Errorf("%d documents, %d tokens; want %d, %d", r.Documents, r.Tokens+r.LeftOut, rows, want)
	}
}

// Marks in marks, which Transformers takes as well.
func TestNestedGeneration(t *testing.T) {
	o := Options{BlockSize: 100, TrainOn: scu.TrainOnCompletion,
		Template: newChatTemplate(map[string]string{"default": `q{% generation %}r{% generation %}s{% endgeneration %}t{% endgeneration %}`}, nil)}
	d, r := open(t, "a.jsonl", `{"messages":[{"role":"user","content":"q"}]}`, letters{}, o)
	if ids, _ := all(t, d); len(ids[0]) != 4 || r.Targets == 0 {
		t.Errorf("%v, %d targets", ids, r.Targets)
	}
}

func TestRefusedConversations(t *testing.T) {
	for _, c := range []struct {
		name, row string
		kind      Kind
		says      string
	}{
		{"no array", `{"messages":"hi"}`, WrongType, `"messages" is a string`},
		{"none", `{"messages":[]}`, Empty, `"messages" is empty`},
		{"no object", `{"messages":["hi"]}`, WrongType, "message 1 is not an object"},
		{"no role", `{"messages":[{"content":"a"}]}`, MissingField, `message 1 has no "role"`},
		{"role of another type", `{"messages":[{"role":1,"content":"a"}]}`, MissingField, `message 1 has no "role"`},
		{"no content", `{"messages":[{"role":"user","content":"a"},{"role":"assistant"}]}`, MissingField, `message 2 has no "content"`},
		{"content of another type", `{"messages":[{"role":"user","content":1}]}`, WrongType, `"content" of message 1`},
		{"a picture", `{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image_url","image_url":{}}]}]}`, WrongType, `part 2 of "content" of message 1 is of type "image_url"`},
		{"a part without text", `{"messages":[{"role":"user","content":[{"type":"text"}]}]}`, MissingField, `part 1 of "content" of message 1 has no "text"`},
		{"an answer in empty parts", `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":[{"type":"text","text":""}]}]}`, Empty, "message 2"},
		{"parts that the template takes for a string", `{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","content":"b"}]}`, Chat, "in parts, as message 1 has it"},
		{"calls that the template leaves out", `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"","tool_calls":[{"type":"function","function":{"name":"weather","arguments":"{}"}}]}]}`, Chat, `message 2 calls "weather"`},
		{"calls without a name", `{"messages":[{"role":"user","content":"a"},{"role":"assistant","tool_calls":[{}]}]}`, MissingField, "tool call 1 of message 2"},
		{"a weight between", `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0.5}]}`, WrongType, `"weight" of message 2`},
		{"a user's weight", `{"messages":[{"role":"user","content":"a","weight":1},{"role":"assistant","content":"b"}]}`, WrongType, `"weight" of message 1`},
		{"nothing weighs", `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","weight":0}]}`, MissingField, `each has "weight" 0`},
		{"empty answer", `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":" "}]}`, Empty, "message 2"},
		{"tools of another type", `{"messages":[{"role":"user","content":"a"}],"tools":{}}`, WrongType, `"tools" is an object`},
		{"roles out of turn", `{"messages":[{"role":"assistant","content":"a"}]}`, Chat, "Conversation roles must alternate"},
		{"no answer", `{"messages":[{"role":"user","content":"a"}]}`, MissingField, "no assistant's turn"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(8)
			o.TrainOn, o.Template = scu.TrainOnCompletion, chatTemplate(t, "gemma")
			_, r, err := Open(context.Background(), write(t, "f", "\n"+c.row), "a.jsonl", letters{}, o)
			if err == nil || len(r.Refused) != 1 || r.Refused[0].Kind != c.kind || r.Refused[0].Lines[0].Line != 2 {
				t.Fatalf("error %v, refused %+v", err, r.Refused)
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("says %q, want %q", err, c.says)
			}
		})
	}
}

func TestLoadChatTemplate(t *testing.T) {
	messages := conversations(t)["two_turns"].messages
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // "": the model has none
	}{
		{"nothing", nil, ""},
		{"no template", map[string]string{"tokenizer_config.json": `{"bos_token":"<s>","chat_template":null}`}, ""},
		{"a string", map[string]string{"tokenizer_config.json": `{"bos_token":"<s>","chat_template":"{{ bos_token }}1"}`}, "<s>1"},
		{"a token as an object", map[string]string{"tokenizer_config.json": `{"bos_token":{"content":"<b>","lstrip":false},"chat_template":"{{ bos_token }}1"}`}, "<b>1"},
		{"a token from the map", map[string]string{"special_tokens_map.json": `{"bos_token":"<m>"}`, "tokenizer_config.json": `{"chat_template":"{{ bos_token }}1"}`}, "<m>1"},
		{"a list", map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"tool_use","template":"t"},{"name":"default","template":"d"}]}`}, "d"},
		{"a file", map[string]string{"tokenizer_config.json": `{"chat_template":"1"}`, "chat_template.jinja": "file"}, "file"},
	} {
		dir := t.TempDir()
		for name, content := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		template, err := LoadChatTemplate(dir)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if (template == nil) != (c.want == "") {
			t.Fatalf("%s: template %v", c.name, template)
		}
		if template == nil {
			continue
		}
		if got, _, err := template.writer(context.Background(), nil).render(messages, false); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
		if got, _, _ := template.writer(context.Background(), jinja.List{1}).render(messages, false); c.name == "a list" && got != "t" {
			t.Errorf("%s: with tools %q", c.name, got)
		}
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(`{`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadChatTemplate(dir); scu.CodeOf(err) != scu.CodeInvalid {
		t.Errorf("error %v", err)
	}
}

// written is what a row of a conversation gives, its turns that count between
// brackets; or why it is refused.
func written(t *testing.T, template *ChatTemplate, trainOn, row string) string {
	t.Helper()
	o := options(1000)
	o.TrainOn, o.Template = trainOn, template
	d, r, err := Open(context.Background(), write(t, "f", row), "a.jsonl", letters{}, o)
	if err != nil {
		return err.Error()
	}
	defer d.Close()
	ids, targets := all(t, d)
	var b strings.Builder
	in := false
	for i, id := range ids[0] {
		if counts := i > 0 && targets[0][i-1] >= 0; counts != in && i > 0 {
			b.WriteString(map[bool]string{true: "[", false: "]"}[counts])
			in = counts
		}
		b.WriteString((letters{}).Decode([]int32{id}, false))
	}
	if in {
		b.WriteByte(']')
	}
	for _, w := range r.Warnings() {
		b.WriteString(" !" + w)
	}
	return b.String()
}

// Which of the assistant's turns count, with marks of the template's own and without.
func TestWhatCounts(t *testing.T) {
	const plain = `{% for m in messages %}{{ m.role[0] + ':' + m.content + ';' }}{% endfor %}{% if add_generation_prompt %}a:{% endif %}`
	const marked = `{% for m in messages %}{{ m.role[0] + ':' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content }}{% endgeneration %}{% else %}{{ m.content }}{% endif %};{% endfor %}`
	row := func(first, second string) string {
		return `{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"x"` + first + `},{"role":"user","content":"r"},{"role":"assistant","content":"y"` + second + `}]}`
	}
	for _, c := range []struct{ name, template, trainOn, row, want string }{
		{"all", plain, scu.TrainOnAll, row("", ""), "u[:q;a:x;u:r;a:y;]"},
		{"completion", plain, scu.TrainOnCompletion, row("", ""), "u:q;a:[x;]u:r;a:[y;]"},
		{"last", plain, scu.TrainOnLast, row("", ""), "u:q;a:x;u:r;a:[y;]"},
		{"all, weight 0", plain, scu.TrainOnAll, row(`,"weight":0`, ""), "u[:q;a:]x;[u:r;a:y;]"},
		{"completion, weight 0", plain, scu.TrainOnCompletion, row(`,"weight":0`, `,"weight":1`), "u:q;a:x;u:r;a:[y;]"},
		{"last, weight 0 at the end", plain, scu.TrainOnLast, row("", `,"weight":0`), "u:q;a:[x;]u:r;a:y;"},
		{"weight null", plain, scu.TrainOnCompletion, row(`,"weight":null`, ""), "u:q;a:[x;]u:r;a:[y;]"},
		{"marked", marked, scu.TrainOnCompletion, row("", ""), "u:q;a:[x];u:r;a:[y];"},
		{"marked, last", marked, scu.TrainOnLast, row("", ""), "u:q;a:x;u:r;a:[y];"},
		{"marked, weight 0", marked, scu.TrainOnCompletion, row(`,"weight":0`, ""), "u:q;a:x;u:r;a:[y];"},
		{"marked, all, weight 0", marked, scu.TrainOnAll, row(`,"weight":0`, ""), "u[:q;a:]x[;u:r;a:y;]"},
		{"marked once for two, weight 0", `{% generation %}` + plain + `{% endgeneration %}`, scu.TrainOnCompletion, row(`,"weight":0`, ""), "line 1: the model's chat template marks 1 parts of 2"},
		{"a prompt's completion, last", plain, scu.TrainOnLast, `{"prompt":"q","completion":"x"}`, "q[x<end>]"},
	} {
		got := written(t, oneTemplate(c.template), c.trainOn, c.row)
		if got != c.want && !strings.Contains(got, c.want) {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
}

// What a template would lose is refused by line, and what nobody reads is told.
func TestWhatATemplateLoses(t *testing.T) {
	for _, c := range []struct{ name, template, row, want string }{
		{"a system prompt", `{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}`,
			`{"messages":[{"role":"system","content":"Be kind."},{"role":"user","content":"q"}]}`, `line 1: the model's chat template leaves out what message 1 says, "Be kind."`},
		{"a message cut short", `{% for m in messages %}{{ m.content[:3] }}{% endfor %}`,
			`{"messages":[{"role":"user","content":"abcdef"}]}`, "leaves out what message 1 says"},
		{"white space", `{% for m in messages %}{{ m.content|trim }}{% endfor %}`,
			`{"messages":[{"role":"user","content":" q\n"},{"role":"assistant","content":"x y "}]}`, "q[x y]"},
		{"reasoning", `{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}`,
			`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"<think>hm</think>x"}]}`, "q[x]"},
		{"a tool's answer in JSON", `{% for m in messages %}{{ m.content|tojson }}{% endfor %}`,
			`{"messages":[{"role":"user","content":"q"},{"role":"tool","content":"{\"a\":\"<\"}"}]}`, `"[q""{\"a\":\"<\"}"]`},
		{"calls with null content", `{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.name }}({{ c.function.arguments }}){% endfor %}{% else %}{{ m.content }}{% endif %}{% endfor %}`,
			`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}}]}]}`, `q[f({"a": 1})]`},
		{"a null turn", `{% for m in messages %}{{ m.content }};{% endfor %}`,
			`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":null,"tool_calls":[{"type":"function","function":{"name":"f","arguments":{}}}]}]}`, `message 2 calls "f"`},
		{"reasoning by another name", `{% for m in messages %}{{ m.content }}{{ m.thinking }}{% endfor %}`,
			`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"x","reasoning":"hm"}]}`, "q[xhm]"},
		{"a key that nobody reads", `{% for m in messages %}{{ m.content }}{{ m.mood }}{% endfor %}`,
			`{"messages":[{"role":"user","content":"q","mood":"m","wieght":0}]}`, `q[m] !data line 1: the key "wieght" of a message is not used`},
		{"an error of the template's own", "{% for m in messages %}\n{{ m.content + m.name }}{% endfor %}",
			`{"messages":[{"role":"user","content":"q"}]}`, `line 1: the model's chat template refuses it: a dict has no attribute "name" (line 2, column`},
		{"a template that can't be read", `{% for %}`,
			`{"messages":[{"role":"user","content":"q"}]}`, "(line 1, column 8 of the template)"},
	} {
		got := written(t, oneTemplate(c.template), scu.TrainOnAll, c.row)
		if got != c.want && !strings.Contains(got, c.want) {
			t.Errorf("%s: %s\nwant %s", c.name, got, c.want)
		}
	}
	if got := written(t, nil, scu.TrainOnAll, `{"messages":[{"role":"user","content":"q"}]}`); !strings.Contains(got, "has no chat template") || !strings.Contains(got, "chat_template.jinja") {
		t.Errorf("without a template: %s", got)
	}
}

// The cases of people whose data or template was not taken as they meant it.
func TestChatCases(t *testing.T) {
	for _, c := range []struct{ data, template, trainOn, want string }{
		{"weight-zero", "plain", scu.TrainOnCompletion, "[user] Say A\n[assistant] wrong words here\n[user] again\n[assistant] [right words\n]"},
		{"content-parts", "parts", scu.TrainOnCompletion, "[user] hi\n[assistant] [Good day.\n]"},
		{"content-parts", "plain", scu.TrainOnCompletion, "line 1: the model's chat template refuses it: str and list can't be added"},
		{"chat-2", "missing-field", scu.TrainOnAll, `line 1: the model's chat template refuses it: a dict has no attribute "name"`},
		{"empty-object", "empty-object", scu.TrainOnCompletion, "[user] hi\n[assistant] [Good day.\n]"},
		{"chat-2", "plain", scu.TrainOnLast, "[user] hi\n[assistant] [Good day.\n][user] ok\n[assistant] [Bye.\n]"},
	} {
		got := written(t, oneTemplate(readCase(t, c.template+".jinja")), c.trainOn, readCase(t, c.data+".jsonl"))
		if got != c.want && !strings.Contains(got, c.want) {
			t.Errorf("%s with %s: %q\nwant %q", c.data, c.template, got, c.want)
		}
	}
}

func TestPrompt(t *testing.T) {
	template := chatTemplate(t, "chatml")
	got, err := template.Prompt(context.Background(), []byte(`[{"role":"user","content":"hi"}]`))
	if want := "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"; err != nil || !strings.HasSuffix(got, want) {
		t.Errorf("%q, %v", got, err)
	}
	for _, messages := range []string{`{`, `[]`, `[{"role":"user"}]`, `[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]`} {
		if _, err := template.Prompt(context.Background(), []byte(messages)); scu.CodeOf(err) != scu.CodeInvalid {
			t.Errorf("%s: error %v", messages, err)
		}
	}
}
