package data

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
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
	source, err := os.ReadFile(filepath.Join("testdata/chat", family+".jinja"))
	if err != nil {
		t.Fatal(err)
	}
	c := newChatTemplate(map[string]string{"default": string(source)}, chatSpecial)
	if c.err != nil {
		t.Fatal(c.err)
	}
	return c
}

// conversation is an entry of testdata/chat/conversations.json.
type conversation struct {
	messages list
	tools    any
}

func conversations(t testing.TB) map[string]conversation {
	t.Helper()
	var raw map[string]struct{ Messages, Tools json.RawMessage }
	readJSON(t, "testdata/chat/conversations.json", &raw)
	all := map[string]conversation{}
	for name, c := range raw {
		messages, err := fromJSON(c.Messages)
		if err != nil {
			t.Fatal(err)
		}
		chat := conversation{messages: messages.(list)}
		if c.Tools != nil {
			if chat.tools, err = fromJSON(c.Tools); err != nil {
				t.Fatal(err)
			}
		}
		all[name] = chat
	}
	return all
}

// What Transformers renders, character for character; and what it refuses.
func TestTemplatesRenderAsInTransformers(t *testing.T) {
	var expected map[string]map[string]*struct {
		Text, Prompted string
		Spans          [][2]int
	}
	readJSON(t, "testdata/chat/expected.json", &expected)
	chats := conversations(t)
	for family, rows := range expected {
		template := chatTemplate(t, family)
		for name, want := range rows {
			t.Run(family+"/"+name, func(t *testing.T) {
				text, spans, err := template.render(chats[name].messages, chats[name].tools, false)
				if want == nil {
					if err == nil {
						t.Fatalf("rendered %q, Transformers refuses", text)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if text != want.Text {
					t.Errorf("got\n%q\nwant\n%q", text, want.Text)
				}
				var got [][2]int
				for _, s := range spans {
					got = append(got, [2]int{s.from, s.to})
				}
				if len(got)+len(want.Spans) > 0 && !reflect.DeepEqual(got, want.Spans) {
					t.Errorf("turns at %v, want %v", got, want.Spans)
				}
				if prompted, _, err := template.render(chats[name].messages, chats[name].tools, true); err != nil || prompted != want.Prompted {
					t.Errorf("with the prompt got\n%q, %v\nwant\n%q", prompted, err, want.Prompted)
				}
			})
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
			template, chat := chatTemplate(t, c.family), chats[c.chat]
			full, _, err := template.render(chat.messages, chat.tools, false)
			if err != nil {
				t.Fatal(err)
			}
			spans, err := template.assistantSpans(full, chat.messages, chat.tools)
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
	full, _, err := template.render(chat.messages, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	if spans, err := template.assistantSpans(full, chat.messages, nil); err == nil {
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
		{"content in parts", `{"messages":[{"role":"user","content":[{"type":"text","text":"a"}]}]}`, WrongType, `"content" of message 1`},
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

func TestHostileTemplates(t *testing.T) {
	messages := conversations(t)["two_turns"].messages
	for name, source := range map[string]string{
		"reads a file":      `{% include "/etc/passwd" %}`,
		"imports one":       `{% import "/etc/passwd" as p %}`,
		"endless range":     `{% for i in range(10 ** 9) %}{% endfor %}`,
		"endless output":    `{% for i in range(100000) %}{{ 'x' * 100000 }}{% endfor %}`,
		"endless loops":     `{% for i in range(10000) %}{% for j in range(10000) %}{{ '' }}{% endfor %}{% endfor %}`,
		"endless recursion": `{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}`,
		"bushy recursion":   `{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}{{ f(60) }}`,
		"brackets":          `{{ ` + strings.Repeat("(", 1<<19) + "1" + strings.Repeat(")", 1<<19) + ` }}`,
		"elses":             `{{ ` + strings.Repeat("1 if 0 else ", 1<<16) + "1 }}",
		"our names":         `{% set __meter__ = 1 %}{% for i in [1] %}{% endfor %}`,
		"huge":              strings.Repeat(" ", maxTemplate+1),
		"negative repeat":   `{{ 'x' * -1 }}`,
		"open bracket":      `{{ (1 if 2 }}`,
		"open string":       `{{ 'a }}`,
		"open tag":          `{% if`,
		"unknown statement": `{% frobnicate %}`,
		"unknown method":    `{{ 'a'.frobnicate() }}`,
		"division by zero":  `{{ 1 % 0 }}`,
		"not callable":      `{{ messages() }}`,
		"of undefined":      `{{ nothing.at.all }}`,
	} {
		template := newChatTemplate(map[string]string{"default": source}, nil)
		if text, _, err := template.render(messages, nil, false); err == nil {
			t.Errorf("%s: rendered %.100q", name, text)
		}
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
		if got, _, err := template.render(messages, nil, false); err != nil || got != c.want {
			t.Errorf("%s: %q, %v, want %q", c.name, got, err, c.want)
		}
		if got, _, _ := template.render(messages, list{1}, false); c.name == "a list" && got != "t" {
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

func FuzzChatTemplate(f *testing.F) {
	names, err := filepath.Glob("testdata/chat/*.jinja")
	if err != nil || len(names) == 0 {
		f.Fatal(err)
	}
	for _, name := range names {
		source, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(source))
	}
	chat := conversations(f)["tools"]
	f.Fuzz(func(t *testing.T, source string) {
		if strings.Contains(source, "*") {
			return // 'x' * 10000000000 asks for as much memory
		}
		done := make(chan bool)
		go func() {
			newChatTemplate(map[string]string{"default": source}, chatSpecial).render(chat.messages, chat.tools, true)
			close(done)
		}()
		select {
		case <-done:
		case <-time.After(3 * time.Second):
			t.Fatalf("hangs: %q", source)
		}
	})
}
