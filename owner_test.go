package scu_test

import (
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

func TestOwnerNames(t *testing.T) {
	for name, valid := range map[string]bool{
		"ada": true, "team-7": true, "Ada.Lovelace@example.org": true, "7": true, strings.Repeat("x", 64): true,
		"": false, "-ada": false, ".hidden": false, "@x": false, "a b": false, "a/b": false, "a*": false, "a>": false, "ä": false, "a\n": false, strings.Repeat("x", 65): false,
	} {
		if scu.ValidOwner(name) != valid {
			t.Errorf("ValidOwner(%q) is %v", name, !valid)
		}
	}
}

func TestMaxRunning(t *testing.T) {
	h := scu.Halts{Running: map[string]int{scu.EachOwner: 3, "ada": 1}}
	for owner, most := range map[string]int{"ada": 1, "bob": 3, "": 0} {
		if got := h.MaxRunning(owner); got != most {
			t.Errorf("%q may run %d jobs, not %d", owner, got, most)
		}
	}
	if got := (scu.Halts{}).MaxRunning("ada"); got != 0 {
		t.Errorf("without a limit: %d", got)
	}
}
