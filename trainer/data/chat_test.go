package data

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
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
		t.Error(c.err); return c
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
