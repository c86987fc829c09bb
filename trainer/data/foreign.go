package data

import "bytes"

// foreign is what files begin with that are often taken for text and aren't, or
// that stand in a text's place.
var foreign = []struct{ start, what string }{
	{"\x1f\x8b", "compressed by gzip; unpack it (gunzip)"},
	{"BZh91AY&SY", "compressed by bzip2; unpack it (bunzip2)"},
	{"\xfd7zXZ\x00", "compressed by xz; unpack it (unxz)"},
	{"\x28\xb5\x2f\xfd", "compressed by zstd; unpack it (unzstd)"},
	{"PK\x03\x04", "a zip archive or an office document; unpack it, or save its text as a file of its own"},
	{"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it"},
	{"ARROW1\x00\x00", "Arrow; write its rows as JSONL (in Python: pandas.read_feather(file).to_json(other, orient=\"records\", lines=True))"},
	{"\xff\xff\xff\xff", "an Arrow stream, as Hugging Face datasets keep them; write its rows as JSONL (in Python: datasets.Dataset.from_file(file).to_json(other))"},
	{"SQLite format 3\x00", "an SQLite database; write its rows as JSONL"},
	{"%PDF-", "PDF; take its text out (pdftotext)"},
	{"version https://git-lfs.github.com/spec/", "a git-lfs pointer, not the data; fetch that (git lfs pull)"},
}

// isForeign says what a file is by its first bytes; "" for text.
func isForeign(start []byte) string {
	for _, f := range foreign {
		if bytes.HasPrefix(start, []byte(f.start)) {
			return f.what
		}
	}
	return ""
}

// isParquet reports whether a file's first bytes are those of Parquet.
func isParquet(start []byte) bool { return bytes.HasPrefix(start, []byte("PAR1")) }

// startBytes is how many first bytes of a file isForeign and isUTF16 look at.
const startBytes = 64

// isUTF16 is true for text in UTF-16 or UTF-32: with a byte order mark, or where its
// first characters are ASCII.
func isUTF16(start []byte) bool {
	if bytes.HasPrefix(start, []byte{0xFF, 0xFE}) || bytes.HasPrefix(start, []byte{0xFE, 0xFF}) {
		return true
	}
	var zeros [2]int // at even and odd places
	for i, c := range start {
		if c == 0 {
			zeros[i%2]++
		}
	}
	n := len(start) / 2
	return n >= 2 && (zeros[0] == n && zeros[1] == 0 || zeros[1] == n && zeros[0] == 0)
}
