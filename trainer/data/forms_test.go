package data

import (
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

// Rows in forms of others become what their authors mean by them, and the report
// names them.
func TestFormsOfOthers(t *testing.T) {
	template := newChatTemplate(map[string]string{"default": "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}" +
		"{% if add_generation_prompt %}[assistant] {% endif %}"}, nil)
	for _, c := range []struct {
		name, row string
		template  *ChatTemplate
		text      string
		counts    string // what of it counts with train_on completion, the end-of-text left out
		form      string
		note      string
	}{
		{"alpaca", `{"instruction":"Add.","input":"1 2","output":"3"}`, template, "[user] Add.\n1 2\n[assistant] 3\n", "3\n", formAlpaca, "as conversations"},
		{"alpaca without input", `{"instruction":"Sing.","output":"La."}`, template, "[user] Sing.\n[assistant] La.\n", "La.\n", formAlpaca, "as conversations"},
		{"alpaca with a system", `{"system":"Be kind.","instruction":"Sing.","input":null,"output":"La."}`, template,
			"[system] Be kind.\n[user] Sing.\n[assistant] La.\n", "La.\n", formAlpaca, "as conversations"},
		{"alpaca for a base model", `{"instruction":"Sing.","input":"","output":"La."}`, nil,
			"Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nSing.\n\n### Response:La.",
			"La.", formAlpaca, "published with Alpaca"},
		{"alpaca with input for a base model", `{"instruction":"Add.","input":"1 2","output":"3"}`, nil,
			"Below is an instruction that describes a task, paired with an input that provides further context. Write a response that appropriately completes the request.\n\n" +
				"### Instruction:\nAdd.\n\n### Input:\n1 2\n\n### Response:3",
			"3", formAlpaca, "published with Alpaca"},
		{"sharegpt", `{"id":"x","conversations":[{"from":"system","value":"Be kind."},{"from":"human","value":"Hi"},{"from":"gpt","value":"Yo"},{"from":"human","value":"Bye"},{"from":"gpt","value":"So long"}]}`,
			template, "[system] Be kind.\n[user] Hi\n[assistant] Yo\n[user] Bye\n[assistant] So long\n", "Yo\nSo long\n", formShareGPT, `as "messages"`},
		{"sharegpt with a system beside", `{"system":"Be kind.","conversations":[{"from":"user","value":"Hi"},{"from":"assistant","value":"Yo"}]}`,
			template, "[system] Be kind.\n[user] Hi\n[assistant] Yo\n", "Yo\n", formShareGPT, `as "messages"`},
		{"sharegpt in other words", `{"conversations":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Yo"}]}`,
			template, "[user] Hi\n[assistant] Yo\n", "Yo\n", formShareGPT, `as "messages"`},
		{"an empty prompt", `{"prompt":"","completion":"The sea was calm."}`, nil, "The sea was calm.", "he sea was calm.", formCompletion, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(4096)
			o.Template, o.TrainOn, o.Packing = c.template, scu.TrainOnCompletion, scu.PackRows
			d, r := open(t, "a.jsonl", c.row, bytesOnly{}, o)
			b, err := d.Block(0)
			if err != nil {
				t.Fatal(err)
			}
			var counts []int32
			for _, id := range b.Targets {
				if id > 0 {
					counts = append(counts, id)
				}
			}
			if text := strings.TrimSuffix(bytesOnly{}.Decode(b.IDs, false), "<end>"); text != c.text {
				t.Errorf("got %q, want %q", text, c.text)
			}
			if got := (bytesOnly{}).Decode(counts, false); got != c.counts {
				t.Errorf("%q counts, want %q", got, c.counts)
			}
			if r.Forms[c.form] != 1 || len(r.Forms) != 1 || !strings.Contains(strings.Join(r.Notes, ""), c.note) || (c.note == "") != (len(r.Notes) == 0) {
				t.Errorf("report %+v", r)
			}
		})
	}
}

// bytesOnly takes a byte for a token.
type bytesOnly struct{ letters }

func (bytesOnly) AppendEncode(dst []int32, text string) []int32 {
	for _, b := range []byte(text) {
		dst = append(dst, int32(b))
	}
	return dst
}

// A begin token that the text has beside the tokenizer's own is told of.
func TestSecondBegin(t *testing.T) {
	tok := builtIn(t)
	end := tok.Encode("<|endoftext|>")
	for _, bos := range [][]int32{nil, end} {
		o := options(64)
		o.EOS, o.BOS = end[0], bos
		_, r := open(t, "a.jsonl", readCase(t, "bos-twice.jsonl"), tok, o)
		told := len(r.Suspicious) == 1 && r.Suspicious[0].Kind == SecondBegin
		if told != (bos != nil) {
			t.Errorf("with %v before each text: %+v", bos, r.Suspicious)
		}
	}
	o := options(64)
	o.BOS = []int32{'^'}
	o.Template = newChatTemplate(map[string]string{"default": "{{ bos_token }}^{{ messages[0].content }}"}, map[string]any{"bos_token": "^"})
	_, r := open(t, "a.jsonl", `{"messages":[{"role":"user","content":"hi"}]}`, bytesOnly{}, o)
	if len(r.Suspicious) != 1 || r.Suspicious[0].Kind != SecondBegin {
		t.Errorf("a template that writes two: %+v", r.Suspicious)
	}
}

// A prompt has the tokens that it has alone, and the completion's first token always
// counts.
func TestBorders(t *testing.T) {
	tok := builtIn(t)
	for _, c := range []struct {
		file  string
		apart bool
		first []string // token of each completion
	}{
		{"completion-starts-with-space.jsonl", false, []string{" bad", " good"}},
		{"prompt-ends-in-space.jsonl", true, []string{"bad", "good"}},
	} {
		for _, trainOn := range []string{scu.TrainOnAll, scu.TrainOnCompletion} {
			o := options(64)
			o.EOS, o.TrainOn, o.Packing = tok.Encode("<|endoftext|>")[0], trainOn, scu.PackOff
			d, r := open(t, c.file, readCase(t, c.file), tok, o)
			apart := len(r.Suspicious) == 1 && r.Suspicious[0].Kind == EncodedApart && r.Suspicious[0].Total == 2
			if apart != c.apart {
				t.Errorf("%s: odd %+v", c.file, r.Suspicious)
			}
			for i, first := range c.first {
				b, err := d.Block(i)
				if err != nil {
					t.Fatal(err)
				}
				from := slices.IndexFunc(b.Targets, func(id int32) bool { return id >= 0 })
				got := tok.Decode(b.IDs[from+1:len(b.IDs)-1], false)
				if trainOn == scu.TrainOnAll {
					got = tok.Decode(b.IDs, false)
					got = got[strings.Index(got, "Verdict:")+len("Verdict:"):]
					first = " " + strings.TrimPrefix(first, " ") + "<|endoftext|>"
				}
				if got != first {
					t.Errorf("%s: row %d with train_on %s counts %q, want %q", c.file, i, trainOn, got, first)
				}
			}
		}
	}
}

// A tokenizer's mark of a text's beginning doesn't come in between.
func TestBordersWithAMarkOfTheBeginning(t *testing.T) {
	tok := published(t, "llama2")
	for _, c := range []struct{ prompt, completion string }{
		{"The sea was ", "calm."}, {"The har", "bour"}, {"Q: ", "\nA"}, {"x", "\n\ny"}, {"1", "2"}, {"Say ", "你好"},
	} {
		d := document{text: c.prompt + c.completion, border: len(c.prompt)}
		d.encode(t.Context(), tok)
		prompt := tok.AppendEncode(nil, c.prompt)
		if len(d.ids) <= len(prompt) || !slices.Equal(d.ids[:len(prompt)], prompt) {
			t.Errorf("%q + %q: tokens %v don't begin with the prompt's %v", c.prompt, c.completion, d.ids, prompt)
		}
		if got := tok.Decode(d.ids, false); got != d.text {
			t.Errorf("%q + %q: tokens of %q", c.prompt, c.completion, got)
		}
	}
}
