package query

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzWithoutNUL: whatever text is in a document, only its NUL characters change.
func FuzzWithoutNUL(f *testing.F) {
	for _, s := range []string{"", "\x00", `\u0000`, "\\\x00", `\\u0000` + "\x00\x00", "a\x00b\"", "\\"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = strings.ToValidUTF8(s, "?")
		document, err := json.Marshal(map[string]string{s: s})
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]string
		if err := json.Unmarshal(withoutNUL(document), &got); err != nil {
			t.Fatal(err)
		}
		want := strings.ReplaceAll(s, "\x00", "\ufffd")
		if got[want] != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
