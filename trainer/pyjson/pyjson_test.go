package pyjson

import (
	"encoding/json"
	"testing"
)

func TestStandard(t *testing.T) {
	for in, want := range map[string]string{
		`{"a": 1}`: `{"a": 1}`,
		`{"a": NaN, "b": [Infinity,-Infinity, -1]}`: `{"a": "NaN", "b": ["Infinity","-Infinity", -1]}`,
		`{"NaN": "Infinity \" NaN", "c\\": NaN}`:    `{"NaN": "Infinity \" NaN", "c\\": "NaN"}`,
		`{"open NaN`:                                `{"open NaN`,
		`{"NaN open \`:                              `{"NaN open \`,
		`{"a": NaN`:                                 `{"a": "NaN"`,
		`{"a": -NaN, 1`:                             `{"a": -"NaN", 1`,
	} {
		if got := string(Standard([]byte(in))); got != want {
			t.Errorf("%s became %s, want %s", in, got, want)
		}
	}
}

// What is JSON stays as it is.
func FuzzStandard(f *testing.F) {
	f.Add([]byte(`{"NaN": [1, "Infinity\\"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := Standard(b); json.Valid(b) && string(got) != string(b) {
			t.Errorf("%q became %q", b, got)
		}
	})
}
