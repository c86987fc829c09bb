package scu_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

var repeatedTexts = map[string]string{ // by the path of what is repeated; "-": nothing
	`{}`: "-", ` [ ] `: "-", `"{\"a\":1,\"a\":2}"`: "-", `-1.5e3`: "-", `null`: "-", "\t[true,false , null]\n": "-",
	`{"a":{"b":1},"b":{"a":1}}`:                       "-",
	`[{"a":1},{"a":1}]`:                               "-",
	`{"a":"a","A":"\\","b":"\"a\":"}`:                 "-",
	`{"a":1,"a":1}`:                                   "a",
	`{ "a" : [ 1 , 2 ] , "b" : { } , "a" : null }`:    "a",
	`{"lora":{"r":8,"alpha":{},"r":16}}`:              "lora.r",
	`{"jobs":[{"a":1},{"a":[[],[{"b":1,"b":2}]]}]}`:   "jobs[1].a[1][0].b",
	`{"a":1,"\u0061":2}`:                              "a",
	`[[{"a":"]","b":"}","a":0}]]`:                     "[0][0].a",
	`{"":1,"":2}`:                                     "",
	`{"":{"a":1,"a":2}}`:                              ".a",
	`{"b":{"[0]":1,"[0]":2}}`:                         "b.[0]",
	"{\"\xff\":1,\"\xfe\":2}":                         "\ufffd",
	`{"a":{"x":1},"a":{"y":2}}`:                       "a",
	`{"control":{"Kp":1},"control":{"Ki":2},"z":[]}`:  "control",
	`{"é":1,"\u00e9":2}`:                              "é",
	`{"a\\":1,"a":2,"a\"":3,"b":"\\","c":{"d":"\\"}}`: "-",
}

func TestRepeatedField(t *testing.T) {
	for text, want := range repeatedTexts {
		if got := repeatedIn(text); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func repeatedIn(text string) string {
	path, repeated := scu.RepeatedField([]byte(text))
	if !repeated {
		return "-"
	}
	return path
}

// Whatever JSON comes, what is found is what package json's tokens have more than once.
func FuzzRepeatedField(f *testing.F) {
	for text := range repeatedTexts {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !json.Valid([]byte(text)) {
			t.Skip()
		}
		d := json.NewDecoder(strings.NewReader(text))
		if got, want := repeatedIn(text), strings.TrimPrefix(repeatedToken(d, ""), "."); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

// repeatedToken is what a value of a path repeats, by the tokens of package json; "-" if there is none.
func repeatedToken(d *json.Decoder, path string) string {
	t, _ := d.Token()
	seen := map[string]bool{}
	for i := 0; (t == json.Delim('{') || t == json.Delim('[')) && d.More(); i++ {
		at := fmt.Sprintf("%s[%d]", path, i)
		if t == json.Delim('{') {
			key, _ := d.Token()
			at = path + "." + key.(string)
			if seen[at] {
				return at
			}
			seen[at] = true
		}
		if found := repeatedToken(d, at); found != "-" {
			return found
		}
	}
	if _, group := t.(json.Delim); group {
		d.Token() // its end
	}
	return "-"
}

func BenchmarkRepeatedField(b *testing.B) {
	job := `{"base_model":"bookworm-2m","train_data_path":"story.txt","name":"a job","priority":3,"metadata":{"a":"b","c":"d"},"config_overrides":{"epochs":3,"batch_size":2,"block_size":128,"learning_rate":0.001,"lora":{"r":8,"alpha":16,"dropout":0.05,"target_modules":["q_proj","k_proj","v_proj"]},"control":{"target_s":0.01,"Kp":0.8,"Ki":0.15}}}`
	for _, n := range []int{1, scu.MaxBatch} {
		text := []byte(`{"jobs":[` + strings.TrimSuffix(strings.Repeat(job+",", n), ",") + "]}")
		b.Run(fmt.Sprintf("jobs=%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				scu.RepeatedField(text)
			}
		})
		b.Run(fmt.Sprintf("jobs=%d/Unmarshal", n), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				var v any
				if err := json.Unmarshal(bytes.Clone(text), &v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
