package data

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/format"

	"github.com/shannon-control/scu"
)

// Parquet as pyarrow writes it (testdata/parquet/generate.py) gives the rows of JSONL.
func TestParquet(t *testing.T) {
	var messages strings.Builder
	for _, s := range [][2]string{{"What is 0 plus 0?", "It is 0."}, {"What is 1 plus 1?", "It is 2."}, {"What is 2 plus 2?", "It is 4."},
		{"What is 3 plus 3?", "It is 6."}, {"What is 4 plus 4?", "It is 8."}, {"Say ü", "ü"}} {
		messages.WriteString(`{"messages":[{"role":"user","content":"` + s[0] + `"},{"role":"assistant","content":"` + s[1] + `"}]}` + "\n")
	}
	for file, jsonl := range map[string]string{
		"messages.parquet": messages.String(),
		"alpaca.parquet":   `{"instruction":"Add.","input":"1 2","output":"3"}` + "\n" + `{"instruction":"Sing.","output":"La."}`,
	} {
		b, err := os.ReadFile("testdata/parquet/" + file)
		if err != nil {
			t.Fatal(err)
		}
		o := options(4096)
		o.Packing = scu.PackRows
		o.Template = newChatTemplate(map[string]string{"default": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"}, nil)
		got, r := open(t, file, string(b), bytesOnly{}, o)
		want, wr := open(t, "a.jsonl", jsonl, bytesOnly{}, o)
		ids, _ := all(t, got)
		wantIDs, _ := all(t, want)
		if !reflect.DeepEqual(ids, wantIDs) || r.Format != formatParquet || r.Rows != wr.Rows || !reflect.DeepEqual(r.Forms, wr.Forms) {
			t.Errorf("%s: blocks %v, as JSONL %v; report %+v", file, ids, wantIDs, r)
		}
	}
}

func parquetOf[T any](t testing.TB, rows []T, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestParquetRefusals(t *testing.T) {
	type text struct {
		Text string `parquet:"text"`
	}
	type number struct {
		Text int64 `parquet:"text"`
	}
	type other struct {
		Title string `parquet:"title"`
	}
	type list struct {
		Text []string `parquet:"text,list"`
	}
	good := parquetOf(t, []text{{"a"}, {"b"}})
	for _, c := range []struct {
		name    string
		content []byte
		kind    Kind
		line    int64
		says    string
	}{
		{"cut off", good[:len(good)-9], BadParquet, 1, "cut off"},
		{"numbers", parquetOf(t, []number{{1}}), WrongType, 1, `"text" is a number`},
		{"no column of ours", parquetOf(t, []other{{"a"}}), MissingField, 1, `its columns are "[title]"`},
		{"a list of strings", parquetOf(t, []list{{[]string{"a"}}}), WrongType, 1, `"text" is an array`},
		{"not UTF-8", parquetOf(t, []text{{"ok"}, {"caf\xe9"}}), Encoding, 2, "not UTF-8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, r, err := Open(context.Background(), write(t, "f", string(c.content)), "a.parquet", letters{}, options(8))
			if scu.CodeOf(err) != scu.CodeInvalid || len(r.Refused) == 0 || r.Refused[0].Kind != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("error %v, refused %+v", err, r.Refused)
			}
			if c.line > 1 && r.Refused[0].Lines[0].Line != c.line {
				t.Errorf("refused %+v, want row %d", r.Refused, c.line)
			}
		})
	}
}

// A dictionary can repeat a text without end: what comes of a file is bounded.
func TestParquetThatGrows(t *testing.T) {
	type text struct {
		Text string `parquet:"text,dict"`
	}
	b := parquetOf(t, []text{{"aaaa"}, {"aaaa"}, {"aaaa"}})
	p, ok, err := newParquet(bytes.NewReader(b), int64(len(b)), &Report{})
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	p.budget = 15 // two texts with their quotes
	for i := range 3 {
		r, err := p.next()
		if err != nil || (r.refused != nil) != (i == 2) {
			t.Fatalf("row %d: %+v, %v", i, r.refused, err)
		}
	}
	if _, err := p.next(); err != io.EOF {
		t.Errorf("after that: %v", err)
	}
}

// Pages are read as the usual codecs pack them, in both versions. One that unpacks to more
// than a page may have is refused before any memory is taken for it, whatever it says of
// itself, and so is a codec that can't be bounded.
func TestParquetCodecs(t *testing.T) {
	type text struct {
		Text string `parquet:"text,optional"`
	}
	for _, version := range []int{1, 2} {
		for _, c := range []struct {
			codec compress.Codec
			says  string // why it is refused; "" if it isn't
		}{
			{&parquet.Uncompressed, ""}, {&parquet.Snappy, ""}, {&parquet.Gzip, ""}, {&parquet.Zstd, ""},
			{&parquet.Lz4Raw, "packed by LZ4_RAW"}, {&parquet.Brotli, "packed by BROTLI"},
		} {
			b := parquetOf(t, []text{{"one"}, {"two"}}, parquet.Compression(c.codec), parquet.DataPageVersion(version))
			_, r, err := Open(t.Context(), write(t, "f", string(b)), "a.parquet", letters{}, options(8))
			if c.says == "" && (err != nil || r.Rows != 2) || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
				t.Errorf("%v, version %d: %d rows, %v", c.codec, version, r.Rows, err)
			}
		}
	}
	bomb := make([]byte, maxParquetPage+1)
	claim := binary.AppendUvarint(nil, 1<<31)
	var frame []byte // a zstd frame of 1 TiB, by its header, and of one byte
	frame = binary.LittleEndian.AppendUint32(frame, 0xFD2FB528)
	frame = append(frame, 0xE0)
	frame = binary.LittleEndian.AppendUint64(frame, 1<<40)
	frame = append(frame, 9, 0, 0, 'x')
	for _, c := range []struct {
		name  string
		codec format.CompressionCodec
		page  []byte
	}{
		{"gzip", format.Gzip, packedBy(t, &parquet.Gzip, bomb)},
		{"zstd", format.Zstd, packedBy(t, &parquet.Zstd, bomb)},
		{"a zstd frame's claim", format.Zstd, frame},
		{"snappy's claim", format.Snappy, claim},
		{"damaged gzip", format.Gzip, []byte("xxxx")},
	} {
		if err := checkUnpacked(io.NewSectionReader(bytes.NewReader(c.page), 0, int64(len(c.page))), c.codec); err == nil {
			t.Errorf("%s: %d bytes are taken", c.name, len(c.page))
		}
	}
}

func packedBy(t *testing.T, codec compress.Codec, b []byte) []byte {
	t.Helper()
	out, err := codec.Encode(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func FuzzParquet(f *testing.F) {
	for _, name := range []string{"messages.parquet", "alpaca.parquet"} {
		b, err := os.ReadFile("testdata/parquet/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 64<<10 {
			return
		}
		o := options(8)
		o.Template = newChatTemplate(map[string]string{"default": "{{ messages[0].content }}"}, nil)
		fuzzOpen(t, append([]byte("PAR1"), content[min(4, len(content)):]...), "a.parquet", o)
	})
}

// A damaged file is refused, or gives what can still be read.
func TestDamagedParquet(t *testing.T) {
	for _, name := range []string{"messages.parquet", "alpaca.parquet"} {
		whole, err := os.ReadFile("testdata/parquet/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for at := 4; at < len(whole)-4; at += 3 {
			for _, flip := range []byte{0x01, 0x80, 0xff} {
				b := bytes.Clone(whole)
				b[at] ^= flip
				p, ok, err := newParquet(bytes.NewReader(b), int64(len(b)), &Report{})
				if err != nil {
					t.Fatalf("%s, byte %d: %v", name, at, err)
				}
				for n := 0; ok; n++ {
					if _, err := p.next(); err == io.EOF {
						break
					} else if err != nil || n > 100 {
						t.Fatalf("%s, byte %d: row %d, %v", name, at, n, err)
					}
				}
			}
		}
	}
}
