package scu_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Each command in the README's table of features beside others is one that shows something:
// its packages have tests that its -run takes, scripts are there, make has the target.
func TestTableNamesTests(t *testing.T) {
	b, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "\n## Beside others\n")
	table, _, _ = strings.Cut(table, "\n## ")
	rows, shown := 0, 0
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| |") {
			continue
		}
		rows++
		ours := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")[2]
		commands := regexp.MustCompile("`[^`]+`").FindAllString(strings.ReplaceAll(ours, "\x00", "|"), -1)
		if len(commands) > 0 {
			shown++
		}
		for _, command := range commands {
			checkCommand(t, strings.Trim(command, "`"))
		}
	}
	if rows < 15 || shown < rows-1 { // a feature that isn't there has no test
		t.Errorf("%d of %d rows name a command", shown, rows)
	}
}

// checkCommand reports what a command needs and isn't there.
func checkCommand(t *testing.T, command string) {
	t.Helper()
	words := strings.Fields(command)
	switch verb := strings.Join(words[:min(2, len(words))], " "); {
	case words[0] == "make":
		b, err := os.ReadFile("Makefile")
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "\n"+words[1]+":") {
			t.Errorf("%s: no such target", command)
		}
	case verb == "go run":
		if _, err := os.Stat(words[2] + "/main.go"); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	case verb == "go test":
		packages, pattern := words[2:], ""
		if i := slices.Index(words, "-run"); i >= 0 {
			packages, pattern = words[2:i], strings.Trim(words[i+1], "'")
		}
		for _, p := range packages {
			checkTests(t, command, p, pattern)
		}
	default:
		t.Errorf("%s: what is it?", command)
	}
}

// checkTests reports a pattern that takes no test of a package. What stands behind a slash is
// a script of testdata/, where testscript makes a subtest of each.
func checkTests(t *testing.T, command, dir, pattern string) {
	t.Helper()
	dirs := dir
	if below, ok := strings.CutSuffix(dir, "/..."); ok {
		dirs = below + "*" // some package below has tests
	}
	files, err := filepath.Glob(filepath.Join(dirs, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	pattern, script, scripted := strings.Cut(pattern, "/")
	test := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	var names []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range test.FindAllStringSubmatch(string(b), -1) {
			names = append(names, m[1])
		}
	}
	if !slices.ContainsFunc(names, regexp.MustCompile(pattern).MatchString) {
		t.Errorf("%s: %s has no such test", command, dir)
	}
	if scripted {
		if _, err := os.Stat(filepath.Join(dir, "testdata", script+".txtar")); err != nil {
			t.Errorf("%s: %v", command, err)
		}
	}
}
