package scu

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestSafeFileName(t *testing.T) {
	for name, want := range map[string]string{
		"data.jsonl":                            "data.jsonl",
		"":                                      "data",
		".":                                     "data",
		"..":                                    "data",
		"../../etc/passwd":                      "passwd",
		`C:\temp\a.txt`:                         "a.txt",
		"/":                                     "data",
		".bashrc":                               "bashrc",
		"a\x00b\nc":                             "a_b_c",
		"\xff\xfe.txt":                          "_.txt",
		"Gedichte für später.txt":               "Gedichte für später.txt",
		strings.Repeat("ü", 90) + ".jsonl":      strings.Repeat("ü", 47) + ".jsonl",
		"a." + strings.Repeat("b", 200):         "a." + strings.Repeat("b", 98),
		"right\u202eto-left":                    "right_to-left",
		"con:aux*":                              "con_aux_",
		" spaces and dots. ":                    "spaces and dots",
		"ends in a dot." + "\x00" + "/trailing": "trailing",
	} {
		if got := SafeFileName(name); got != want {
			t.Errorf("SafeFileName(%q) = %q, want %q", name, got, want)
		}
	}
}

func FuzzSafeFileName(f *testing.F) {
	for _, s := range []string{"a.txt", "../..", "\xff", "a/b\\c", strings.Repeat("x", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := SafeFileName(s)
		if n == "" || n == "." || n == ".." || len(n) > maxFileName || n[0] == '.' || strings.ContainsAny(n, "/\\\x00\n") || filepath.Base(n) != n {
			t.Errorf("SafeFileName(%q) = %q", s, n)
		}
	})
}
