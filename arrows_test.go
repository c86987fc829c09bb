package scu_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const architecture = "docs/architecture.md"

// Imports keep to the table of rooms in docs/architecture.md.
func TestArrows(t *testing.T) {
	rooms := readRooms(t)
	module := strings.TrimSpace(run(t, "go", "list", "-m"))
	folder := func(importPath string) (string, bool) {
		if importPath == module {
			return ".", true
		}
		return strings.CutPrefix(importPath, module+"/")
	}
	packages := json.NewDecoder(strings.NewReader(run(t, "go", "list", "-json=ImportPath,Imports", "./...")))
	used := map[string]bool{}
	for packages.More() {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := packages.Decode(&p); err != nil {
			t.Fatal(err)
		}
		here, _ := folder(p.ImportPath)
		from := roomOf(rooms, here)
		if from == "" {
			t.Errorf("%s is in no room of %s", here, architecture)
			continue
		}
		used[from] = true
		for _, i := range p.Imports {
			there, ours := folder(i)
			if to := roomOf(rooms, there); ours && to != from && !slices.Contains(rooms[from], to) {
				t.Errorf("%s imports %s: %s may import %v", here, there, from, rooms[from])
			}
		}
	}
	for room := range rooms {
		if !used[room] {
			t.Errorf("%s has the room %s, where no package is", architecture, room)
		}
	}
}

// The drawing in docs/architecture.md shows the imports as they are.
func TestGraphIsCurrent(t *testing.T) {
	doc, err := os.ReadFile(architecture)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), "<!-- graph -->\n"+run(t, "scripts/graph", "print")+"<!-- end of graph -->\n") {
		t.Errorf("%s shows other imports than there are; run scripts/graph", architecture)
	}
}

// readRooms reads the table: the room's folder, what it is, what it may import.
func readRooms(t *testing.T) map[string][]string {
	doc, err := os.ReadFile(architecture)
	if err != nil {
		t.Fatal(err)
	}
	rooms := map[string][]string{}
	name := regexp.MustCompile("`([^`]+)`")
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|[^|]*\\|([^|]*)\\|$").FindAllStringSubmatch(string(doc[:strings.Index(string(doc), "<!-- graph -->")]), -1) {
		rooms[row[1]] = []string{}
		for _, n := range name.FindAllStringSubmatch(row[2], -1) {
			rooms[row[1]] = append(rooms[row[1]], n[1])
		}
	}
	if len(rooms) < 10 {
		t.Fatalf("%s has %d rooms", architecture, len(rooms))
	}
	return rooms
}

// roomOf is the nearest folder at or above one that is a room; "" if none is.
func roomOf(rooms map[string][]string, folder string) string {
	if folder == "." {
		return folder
	}
	for ; folder != "." && folder != "/"; folder = path.Dir(folder) {
		if _, ok := rooms[folder]; ok {
			return folder
		}
	}
	return ""
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		t.Fatal(name, args, err)
	}
	return string(out)
}
