package logins

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Whichever server of a cluster a program connects to, it has the login there: NATS's
// clients don't carry it over from the first.
func TestLoginOfEveryServer(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, "a:4222,b:4222,c:4222", []Login{{User: "reader"}}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, File("reader")))
	if err != nil {
		t.Fatal(err)
	}
	servers := strings.Split(strings.TrimSpace(string(b)), ",")
	if len(servers) != 3 {
		t.Fatalf("%q", servers)
	}
	for i, server := range servers {
		login, _, ok := strings.Cut(server, "@")
		if first, _, _ := strings.Cut(servers[0], "@"); !ok || login != first || !strings.HasPrefix(login, "nats://reader:") {
			t.Errorf("server %d is %q", i, server)
		}
	}
}
