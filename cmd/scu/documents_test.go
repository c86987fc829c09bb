package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	fenced = regexp.MustCompile("(?ms)^```[^\n]*\n(.*?)^```")
	inline = regexp.MustCompile("`([^`]+)`")
	called = regexp.MustCompile(`^(?:\w+=\S+ )*(?:bin/)?scu ([a-z].*)$`)
	ends   = regexp.MustCompile(`\s(?:[|;>]|&&|2>|#).*$`)
)

// commands are the calls of scu in a document, in its blocks and within its sentences.
func commands(text string) (all []string) {
	text = strings.ReplaceAll(text, "\\\n", " ")
	var lines []string
	for _, m := range fenced.FindAllStringSubmatch(text, -1) {
		lines = append(lines, strings.Split(m[1], "\n")...)
	}
	for _, m := range inline.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		lines = append(lines, strings.ReplaceAll(m[1], "\n", " "))
	}
	for _, line := range lines {
		for _, part := range strings.Split(line, "&& ") {
			if m := called.FindStringSubmatch(strings.TrimSpace(part)); m != nil {
				all = append(all, ends.ReplaceAllString(m[1], ""))
			}
		}
	}
	return all
}

// documents are the paths of those that users read.
func documents(t *testing.T) (all []string) {
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../examples/*.md", "../../examples/*/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %d documents, %v", pattern, len(paths), err)
		}
		all = append(all, paths...)
	}
	return slices.DeleteFunc(all, func(path string) bool { return filepath.Base(path) == "CHANGELOG.md" }) // which tells of what was
}

// Every command and flag that the documents name is there.
func TestDocumentsNameCommands(t *testing.T) {
	root := (&app{}).root()
	root.InitDefaultCompletionCmd()
	found := 0
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range commands(string(text)) {
			found++
			words := strings.Fields(strings.TrimPrefix(call, "help "))
			c, _, err := root.Find(words[:1])
			if err != nil || c.Root() == c {
				t.Errorf("%s: scu %s: there is no such command", filepath.Base(path), call)
				continue
			}
			if len(words) > 1 {
				if sub, _, err := c.Find(words[1:]); err == nil {
					c = sub
				}
			}
			for _, word := range words[1:] {
				name, ok := strings.CutPrefix(word, "--")
				name, _, _ = strings.Cut(strings.TrimRight(name, ",.)"), "=")
				if !ok || name == "" || name == "help" {
					continue
				}
				if flag := c.Flags().Lookup(name); flag == nil && c.InheritedFlags().Lookup(name) == nil {
					t.Errorf("%s: scu %s: %s has no --%s", filepath.Base(path), call, c.CommandPath(), name)
				}
			}
		}
	}
	if found < 100 {
		t.Errorf("%d calls were found in the documents: are they read as they are written?", found)
	}
}
