package data

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

func TestPacking(t *testing.T) {
	const none = -1
	for _, c := range []struct {
		name, file, content string
		tok                 Tokenizer
		o                   Options
		ids, targets        [][]int32
		documents, leftOut  int64
	}{
		{
			name: "two documents across a block boundary, last block short",
			file: "a.jsonl", content: `{"text":"1 2 3"}` + "\n" + `{"text":"4 5 6"}`, tok: numbers{}, o: options(5),
			ids:       [][]int32{{1, 2, 3, eos, 4}, {5, 6, eos}},
			targets:   [][]int32{{2, 3, eos, 4, none}, {6, eos, none}},
			documents: 2,
		},
		{
			name: "a document over several blocks",
			file: "a.jsonl", content: `{"text":"1 2 3 4 5 6 7 8"}`, tok: numbers{}, o: options(4),
			ids:       [][]int32{{1, 2, 3, 4}, {5, 6, 7, 8}},
			targets:   [][]int32{{2, 3, 4, none}, {6, 7, 8, none}},
			documents: 1, leftOut: 1, // the end-of-text token alone has nothing to predict
		},
		{
			name: "shorter than a block",
			file: "a.txt", content: "hi", tok: letters{}, o: options(100),
			ids:       [][]int32{{'h', 'i', eos}},
			targets:   [][]int32{{'i', eos, none}},
			documents: 1,
		},
		{
			name: "exactly a block",
			file: "a.txt", content: "hi", tok: letters{}, o: options(3),
			ids:       [][]int32{{'h', 'i', eos}},
			targets:   [][]int32{{'i', eos, none}},
			documents: 1,
		},
		{
			name: "a document that ends in end-of-text gets no second",
			file: "a.jsonl", content: `{"text":"1 0"}` + "\n" + `{"text":"2"}`, tok: numbers{}, o: options(9),
			ids:       [][]int32{{1, eos, 2, eos}},
			targets:   [][]int32{{eos, 2, eos, none}},
			documents: 2,
		},
		{
			name: "paragraphs",
			file: "a.txt", content: "\n\n1 2\n3\n \t\n4\r\n\r\n\n5", tok: numbers{}, o: Options{BlockSize: 9, TextDocuments: scu.DocumentPara},
			ids:       [][]int32{{1, 2, 3, eos, 4, eos, 5, eos}},
			targets:   [][]int32{{2, 3, eos, 4, eos, 5, eos, none}},
			documents: 3,
		},
		{
			name: "what stands before every document",
			file: "a.jsonl", content: `{"text":"1"}` + "\n" + `{"text":"2"}`, tok: numbers{}, o: Options{BlockSize: 9, BOS: []int32{7}, Packing: scu.PackJoined},
			ids:       [][]int32{{7, 1, eos, 7, 2, eos}},
			targets:   [][]int32{{1, eos, 7, 2, eos, none}},
			documents: 2,
		},
		{
			name: "a prompt counts with train_on all",
			file: "a.jsonl", content: `{"prompt":"hi","completion":"yo"}`, tok: letters{}, o: options(9),
			ids:       [][]int32{{'h', 'i', 'y', 'o', eos}},
			targets:   [][]int32{{'i', 'y', 'o', eos, none}},
			documents: 1,
		},
		{
			name: "and doesn't with completion",
			file: "a.jsonl", content: `{"prompt":"hi","completion":"yo"}` + "\n" + `{"text":"1"}`, tok: letters{},
			o:         Options{BlockSize: 9, TrainOn: scu.TrainOnCompletion, Packing: scu.PackJoined},
			ids:       [][]int32{{'h', 'i', 'y', 'o', eos, '1', eos}},
			targets:   [][]int32{{none, 'y', 'o', eos, '1', eos, none}},
			documents: 2,
		},
		{
			name: "where a token would go across the boundary, they are encoded apart",
			file: "a.jsonl", content: `{"prompt":"sa","completion":"by"}`, tok: letters{},
			o:         Options{BlockSize: 9, TrainOn: scu.TrainOnCompletion, Packing: scu.PackJoined},
			ids:       [][]int32{{'s', 'a', 'b', 'y', eos}},
			targets:   [][]int32{{none, 'b', 'y', eos, none}},
			documents: 1,
		},
		{
			name: "a block inside a prompt is left out",
			file: "a.jsonl", content: `{"prompt":"12345","completion":"yo"}`, tok: letters{},
			o:         Options{BlockSize: 3, TrainOn: scu.TrainOnCompletion},
			ids:       [][]int32{{'4', '5', 'y'}, {'o', eos}},
			targets:   [][]int32{{none, 'y', none}, {eos, none}},
			documents: 1, leftOut: 3,
		},
		{
			name: "a byte order mark isn't text",
			file: "a.txt", content: "\xEF\xBB\xBFhi", tok: letters{}, o: options(9),
			ids:       [][]int32{{'h', 'i', eos}},
			targets:   [][]int32{{'i', eos, none}},
			documents: 1,
		},
		{
			name: "null is absent",
			file: "a", content: `{"text":"hi","messages":null,"prompt":null}`, tok: letters{}, o: options(9),
			ids:       [][]int32{{'h', 'i', eos}},
			targets:   [][]int32{{'i', eos, none}},
			documents: 1,
		},
		{
			name: "text that happens to have braces",
			file: "a", content: "{hi}", tok: letters{}, o: options(9),
			ids:       [][]int32{{'{', 'h', 'i', '}', eos}},
			targets:   [][]int32{{'h', 'i', '}', eos, none}},
			documents: 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, r := open(t, c.file, c.content, c.tok, c.o)
			ids, targets := all(t, d)
			if !reflect.DeepEqual(ids, c.ids) {
				t.Errorf("ids %v, want %v", ids, c.ids)
			}
			if !reflect.DeepEqual(targets, c.targets) {
				t.Errorf("targets %v, want %v", targets, c.targets)
			}
			var tokens, counted int64
			for i := range c.ids {
				tokens += int64(len(c.ids[i]))
				for _, x := range c.targets[i] {
					if x >= 0 {
						counted++
					}
				}
			}
			if d.Tokens() != tokens || r.Tokens != tokens || r.Targets != counted || r.Blocks != len(c.ids) ||
				r.Documents != c.documents || r.LeftOut != c.leftOut || r.Bytes != int64(len(c.content)) {
				t.Errorf("N = %d, want %d; report %+v", d.Tokens(), tokens, r)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", maxLine+1)
	for _, c := range []struct {
		name, file, content string
		kind                Kind
		line                int64
		says                string
	}{
		{"empty file", "a.txt", "", Empty, 1, "no text"},
		{"blank file", "a.txt", " \n\t\n", Empty, 1, "no text"},
		{"empty jsonl", "a.jsonl", "\n\n", Empty, 1, "no row"},
		{"only a mark", "a.txt", "\xEF\xBB\xBF", Empty, 1, "no text"},
		{"binary", "a.txt", "text\nmore\x00text", Binary, 2, "NUL at byte 5"},
		{"binary jsonl", "a.jsonl", `{"text":"a"}` + "\n\x00", Binary, 2, "NUL"},
		{"latin-1", "a.txt", "ok\nok\ncaf\xe9\n", Encoding, 3, "byte 4 (0xe9) is not UTF-8"},
		{"latin-1 in jsonl", "a.jsonl", `{"text":"caf` + "\xe9" + `"}`, Encoding, 1, "not UTF-8"},
		{"overlong", "a.txt", "\xc0\xaf", Encoding, 1, "not UTF-8"},
		{"utf-16 le", "a.txt", "\xff\xfeh\x00i\x00", Encoding, 1, "iconv"},
		{"utf-16 le without a mark", "a.jsonl", "{\x00}\x00\n\x00", Encoding, 1, "UTF-16"},
		{"utf-16 be without a mark", "a.txt", "\x00h\x00i", Encoding, 1, "UTF-16"},
		{"utf-32", "a.txt", "\xff\xfe\x00\x00h\x00\x00\x00", Encoding, 1, "UTF-32"},
		{"windows-1252", "a.txt", "it\x92s", Encoding, 1, "byte 3 (0x92) is not UTF-8"},
		{"a surrogate in UTF-8", "a.jsonl", `{"text":"` + "\xed\xa0\x80" + `"}`, Encoding, 1, "not UTF-8"},
		{"gzip", "a.jsonl", "\x1f\x8b\x08\x00\x00", Binary, 1, "gunzip"},
		{"zip", "a.txt", "PK\x03\x04rest", Binary, 1, "zip archive"},
		{"zstd", "a", "\x28\xb5\x2f\xfdrest", Binary, 1, "unzstd"},
		{"parquet cut off", "a.jsonl", "PAR1\x15\x04\x15", BadParquet, 1, "cut off"},
		{"csv without a known column", "a.csv", "id,title\n1,a\n", MissingField, 1, ".txt to train on it as it is"},
		{"an empty csv", "a.csv", "\n", Empty, 1, "no row"},
		{"a csv of a header", "a.csv", "text\n", Empty, 1, "no row"},
		{"csv with too few fields", "a.csv", "id,text\n1,a\n2\n", BadCSV, 3, "has 1 fields, the header 2"},
		{"csv with a bare quote", "a.csv", "id,text\n1,a \"b\" c\n", BadCSV, 2, "its own doubled"},
		{"csv with an open quote", "a.csv", "id,text\n1,\"a\n2,b\n", BadCSV, 2, "quote"},
		{"csv in Latin-1", "a.csv", "id,text\n1,caf\xe9\n", Encoding, 2, "not UTF-8"},
		{"csv with a column twice", "a.csv", "text,text\na,b\n", BadCSV, 1, "twice"},
		{"a long csv record", "a.csv", "text\n\"a\"\n\"" + long + long, TooLong, 3, "16 MiB"},
		{"csv of an empty text", "a.csv", "id,text\n1,\n", Empty, 2, "\"text\" is empty"},
		{"arrow", "a.arrow", "ARROW1\x00\x00rest", Binary, 1, "Arrow"},
		{"pdf", "a.txt", "%PDF-1.7\n1 0 obj", Binary, 1, "pdftotext"},
		{"git-lfs", "a.txt", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", Binary, 1, "git lfs pull"},
		{"utf-16 be", "a.jsonl", "\xfe\xff\x00h\x00i", Encoding, 1, "UTF-16"},
		{"long line", "a.txt", "a\n" + long + "\nb", TooLong, 2, "16 MiB"},
		{"long row", "a.jsonl", `{"text":"a"}` + "\n" + long, TooLong, 2, "16 MiB"},
		{"bad JSON", "a.jsonl", `{"text":"a"}` + "\n\n" + `{"text":b}`, BadJSON, 3, "byte 9: invalid character 'b'"},
		{"cut off", "a.jsonl", `{"text":"a"}` + "\n\n" + `{"text":"b`, BadJSON, 3, "ends at byte 10"},
		{"NaN", "a.jsonl", `{"text":"a","score":NaN}`, BadJSON, 1, "byte 21: invalid character 'N'"},
		{"a comma behind", "a.jsonl", `{"text":"a"},`, BadJSON, 1, "byte 13: something follows"},
		{"CR line ends", "a.jsonl", `{"text":"a"}` + "\r" + `{"text":"b"}`, BadJSON, 1, "one object a line"},
		{"too deep", "a.jsonl", `{"text":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + "}", BadJSON, 1, "max depth"},
		{"html", "a.jsonl", "<!DOCTYPE html>\n", BadJSON, 1, "want an object"},
		{"csv", "a.jsonl", "id,text\n1,hi\n", BadJSON, 1, "want an object"},
		{"bad first row by content", "a", `{"text":"a"` + "\n" + `{"text":"b"}`, BadJSON, 1, "bad JSON"},
		{"no JSON", "a.jsonl", "hello", BadJSON, 1, `"hello"`},
		{"two objects a line", "a.jsonl", `{"text":"a"}{"text":"b"}`, BadJSON, 1, "one object a line"},
		{"an array", "a.json", "[\n" + `{"text":"a"}` + "\n]", BadJSON, 1, "one JSON array"},
		{"an array by content", "a", "\n" + `[{"text":"a"}]`, BadJSON, 2, "one JSON array"},
		{"printed over lines", "a.json", "{\n" + `"text":"a"` + "\n}", BadJSON, 1, "several lines"},
		{"an array a line", "a.jsonl", `{"text":"a"}` + "\n" + `[1]`, WrongType, 2, "got an array"},
		{"a number a line", "a.jsonl", `1`, WrongType, 1, "got a number"},
		{"a text that is a number", "a.jsonl", `{"text":1}`, WrongType, 1, `"text" is a number, want a string`},
		{"a prompt that is a list", "a.jsonl", `{"prompt":["a"],"completion":"b"}`, WrongType, 1, `"prompt" is an array`},
		{"no known field", "a.jsonl", `{"content":"a","id":3}`, MissingField, 1, `its keys are "content", "id"`},
		{"alpaca without an instruction", "a.jsonl", `{"instruction":"","input":"","output":"b"}`, Empty, 1, `"instruction" is empty`},
		{"alpaca of another type", "a.jsonl", `{"instruction":"a","input":1,"output":"b"}`, WrongType, 1, `"input" is a number`},
		{"sharegpt without a template", "a.jsonl", `{"conversations":[{"from":"human","value":"a"}]}`, Chat, 1, `no chat template`},
		{"sharegpt of strings", "a.jsonl", `{"conversations":["a"]}`, WrongType, 1, `want an array of objects`},
		{"sharegpt from nobody", "a.jsonl", `{"conversations":[{"value":"a"}]}`, MissingField, 1, `entry 1 of "conversations": "from" is missing`},
		{"sharegpt from another", "a.jsonl", `{"conversations":[{"from":"human","value":"a"},{"from":"function_call","value":"a"}]}`, Chat, 1, `entry 2 of "conversations" is from "function_call"`},
		{"empty object", "a.jsonl", `{}`, MissingField, 1, "has neither"},
		{"null text", "a.jsonl", `{"text":null}`, Empty, 1, `"text" is null`},
		{"a huge number", "a.jsonl", `{"text":1e999999}`, WrongType, 1, "is a number"},
		{"another case", "a.jsonl", `{"Text":"a"}`, MissingField, 1, `its keys are "Text"`},
		{"a mark and no row", "a.jsonl", `{"text":"a"}` + "\n\xEF\xBB\xBF\n", BadJSON, 2, "want an object"},
		{"no completion", "a.jsonl", `{"prompt":"a"}`, MissingField, 1, `"completion" is missing`},
		{"no prompt", "a.jsonl", `{"completion":"a"}`, MissingField, 1, `"prompt" is missing`},
		{"two forms", "a.jsonl", `{"text":"a","prompt":"a","completion":"b"}`, Ambiguous, 1, "want one of them"},
		{"empty text", "a.jsonl", `{"text":"a"}` + "\n" + `{"text":" \n"}`, Empty, 2, `"text" is empty`},
		{"empty completion", "a.jsonl", `{"prompt":"a","completion":""}`, Empty, 1, `"completion" is empty`},
		{"chat without a template", "a.jsonl", `{"messages":[{"role":"user","content":"a"}]}`, Chat, 1, "no chat template"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, r, err := Open(context.Background(), write(t, "f", c.content), c.file, letters{}, options(8))
			if d != nil || scu.CodeOf(err) != scu.CodeInvalid {
				t.Fatalf("error %v, want an invalid one", err)
			}
			if len(r.Refused) == 0 || r.Refused[0].Kind != c.kind || r.Refused[0].Lines[0].Line != c.line {
				t.Fatalf("refused %+v, want %s in line %d", r.Refused, c.kind, c.line)
			}
			if r.Refused[0].Total != 1 && c.name != "csv" || len(r.Refused) > 1 {
				t.Errorf("refused %+v, want one line", r.Refused)
			}
			if want := fmt.Sprintf("line %d: ", c.line); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), c.says) ||
				!strings.Contains(err.Error(), c.file) {
				t.Errorf("says %q, want %q and %q", err, want, c.says)
			}
		})
	}
}

func TestRefusalsAreCountedAndListed(t *testing.T) {
	var b strings.Builder
	for range 1000 {
		b.WriteString(`{"text":"a"}` + "\n" + `{"text":}` + "\n")
	}
	_, r, err := Open(context.Background(), write(t, "f", b.String()), "f.jsonl", letters{}, options(8))
	if err == nil || !strings.Contains(err.Error(), "line 2:") || !strings.Contains(err.Error(), "line 10:") || !strings.Contains(err.Error(), "and 995 more") {
		t.Errorf("error %v", err)
	}
	if f := r.Refused[0]; f.Total != 1000 || len(f.Lines) != maxListed || f.Lines[maxListed-1].Line != 2*maxListed {
		t.Errorf("%d refused, %d listed", f.Total, len(f.Lines))
	}
	if r.Rows != 2000 {
		t.Errorf("%d rows", r.Rows)
	}
}

func TestSuspicions(t *testing.T) {
	for _, c := range []struct {
		name, file, content string
		kind                Kind
		line                int64
		says                string
	}{
		{"byte order mark", "a.txt", "\xEF\xBB\xBFhi", Encoding, 1, "byte order mark"},
		{"control character", "a.txt", "hi\n\x1b[0m", ControlCharacters, 2, "U+001B"},
		{"escaped control character", "a.jsonl", `{"text":"a\u0000b"}`, ControlCharacters, 1, "U+0000"},
		{"half a surrogate pair", "a.jsonl", `{"text":"a\ud800b"}`, Replacement, 1, "U+FFFD"},
		{"duplicate", "a.jsonl", `{"text":"a"}` + "\n" + `{"text":"b"}` + "\n" + `{"text":"a"}`, Duplicate, 3, "line 1"},
		{"unknown key", "a.jsonl", `{"text":"a","id":1}` + "\n" + `{"text":"b","id":2}`, UnknownKey, 1, `"id"`},
		{"a row's mark", "a.jsonl", `{"text":"a"}` + "\n\xEF\xBB\xBF" + `{"text":"b"}`, Encoding, 2, "byte order mark"},
		{"a key twice", "a.jsonl", `{"text":"a", "te\u0078t" : {"x":"]}"} ,"text":"b"}`, DuplicateKey, 1, `"text" more than once`},
		{"longer than a block", "a.jsonl", `{"text":"12345678"}`, LongRow, 1, "9 tokens"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, r := open(t, c.file, c.content, letters{}, options(8))
			if len(r.Suspicious) != 1 || r.Suspicious[0].Total != 1 || r.Suspicious[0].Kind != c.kind || r.Suspicious[0].Lines[0].Line != c.line {
				t.Fatalf("suspicious %+v, want %s in line %d", r.Suspicious, c.kind, c.line)
			}
			if w := r.Warnings(); len(w) != 1 || !strings.Contains(w[0], c.says) || !strings.Contains(w[0], fmt.Sprintf("line %d", c.line)) {
				t.Errorf("warnings %q, want %q", w, c.says)
			}
		})
	}
}

func TestNoFile(t *testing.T) {
	if _, _, err := Open(context.Background(), t.TempDir()+"/none", "none.txt", letters{}, options(8)); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("error %v", err)
	}
	if _, _, err := Open(context.Background(), t.TempDir(), "dir", letters{}, options(8)); scu.CodeOf(err) != scu.CodeInvalid {
		t.Errorf("error %v", err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, _, err := Open(ctx, write(t, "a.txt", "hi"), "a.txt", letters{}, options(8))
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestPreview(t *testing.T) {
	o := options(4)
	o.TrainOn = scu.TrainOnCompletion
	d, _ := open(t, "a.jsonl", `{"prompt":"q","completion":"the end"}`, letters{}, o)
	got, err := d.Preview(1, letters{})
	if err != nil {
		t.Fatal(err)
	}
	want := [][]PreviewToken{{{ID: 'q', Text: "q"}, {ID: 301, Text: "the ", Counts: true}, {ID: 'e', Text: "e", Counts: true}, {ID: 'n', Text: "n", Counts: true}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("preview %v, want %v", got, want)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"hi", "a\n\nb", "\xEF\xBB\xBFx", "\xff\xfe", "{\"text\":1}", "\x00", "caf\xe9"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, paragraphs bool) {
		o := options(4)
		if paragraphs {
			o.TextDocuments = scu.DocumentPara
		}
		fuzzOpen(t, b, "a.txt", o)
	})
}

func FuzzReadJSONL(f *testing.F) {
	for _, s := range []string{`{"text":"hi"}`, `{"prompt":"a","completion":"b"}`, `{"messages":[{"role":"user","content":"a"}]}`,
		`{"messages":[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"assistant","content":"<think>b</think>c"}],"tools":[{"a":1.5}]}`,
		`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[{"name":"f","arguments":{"x":[1,null]}}]},{"role":"tool","content":"b"}]}`,
		`{"text":"a"}{`, "{}\n[]\n1", `{"text":"\ud800"}`, "\xEF\xBB\xBF{}"} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	template := chatTemplate(f, "qwen3")
	f.Fuzz(func(t *testing.T, b []byte, completion bool) {
		o := options(4)
		o.Template = template
		if completion {
			o.TrainOn = scu.TrainOnCompletion
		}
		fuzzOpen(t, b, "a.jsonl", o)
	})
}

// fuzzOpen checks what holds for every file: blocks that are as promised, or a
// refusal that names a line.
func fuzzOpen(t *testing.T, content []byte, name string, o Options) {
	d, r, err := Open(context.Background(), write(t, "f", string(content)), name, letters{}, o)
	if err != nil {
		if scu.CodeOf(err) != scu.CodeInvalid || len(r.Refused) == 0 || r.Refused[0].Lines[0].Line < 1 {
			t.Fatalf("error %v with report %+v", err, r)
		}
		return
	}
	defer d.Close()
	ids, targets := all(t, d)
	if len(ids) == 0 {
		t.Fatal("no block and no error")
	}
	for i := range ids {
		counted := 0
		for k, target := range targets[i] {
			if target >= 0 {
				counted++
				if target != ids[i][k+1] {
					t.Fatalf("block %d: target %d at %d, then %d", i, target, k, ids[i][k+1])
				}
			}
		}
		if counted == 0 || len(ids[i]) > o.BlockSize || o.Packing == scu.PackJoined && i < len(ids)-1 && len(ids[i]) != o.BlockSize {
			t.Fatalf("block %d of %d: %d tokens, %d targets", i, len(ids), len(ids[i]), counted)
		}
	}
}
