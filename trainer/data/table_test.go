package data

import (
	"reflect"
	"testing"

	"github.com/shannon-control/scu"
)

// A table's rows are those of JSONL with the header's keys.
func TestTables(t *testing.T) {
	for _, c := range []struct {
		name, file, content string
		jsonl               string
	}{
		{"commas", "a.csv", "id,text\n1,one\n2,\"two, or\nmore\"\n", `{"text":"one"}` + "\n" + `{"text":"two, or\nmore"}`},
		{"semicolons and CRLF", "a.csv", "prompt;completion\r\na;b\r\n\"say \"\"c\"\"\";d\r\n", `{"prompt":"a","completion":"b"}` + "\n" + `{"prompt":"say \"c\"","completion":"d"}`},
		{"tabs and a mark", "a.tsv", "\xEF\xBB\xBFinstruction\tinput\toutput\nSing.\t\tLa.\n", `{"instruction":"Sing.","input":"","output":"La."}`},
		{"conversations as JSON", "a.csv", "messages\n\"[{\"\"role\"\":\"\"user\"\",\"\"content\"\":\"\"hi\"\"}]\"\n", `{"messages":[{"role":"user","content":"hi"}]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := options(4096)
			o.Packing = scu.PackRows
			o.Template = newChatTemplate(map[string]string{"default": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"}, nil)
			got, r := open(t, c.file, c.content, bytesOnly{}, o)
			want, wr := open(t, "a.jsonl", c.jsonl, bytesOnly{}, o)
			ids, targets := all(t, got)
			wantIDs, wantTargets := all(t, want)
			if !reflect.DeepEqual(ids, wantIDs) || !reflect.DeepEqual(targets, wantTargets) {
				t.Errorf("blocks %v, as JSONL %v", ids, wantIDs)
			}
			if r.Format != formatCSV || r.Rows != wr.Rows || !reflect.DeepEqual(r.Forms, wr.Forms) {
				t.Errorf("report %+v, as JSONL %+v", r, wr)
			}
		})
	}
}

func FuzzTable(f *testing.F) {
	for _, s := range []string{"text\na\n", "id;text\n1;\"a\"\"b\"\n", "prompt\tcompletion\na\tb\n", "messages\n\"[]\"\n", "text\n\"a\nb"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) { fuzzOpen(t, content, "a.csv", options(8)) })
}
