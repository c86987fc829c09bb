package scu_test

import (
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// A key is known by its text alone, and what is kept doesn't have it.
func TestKeys(t *testing.T) {
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	soon := now.Add(time.Hour)
	k, text, err := scu.NewKey(scu.Key{Name: "ci", Owner: "ada", Scope: scu.ScopeSubmit, ExpiresAt: &soon}, now)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := scu.NewKey(scu.Key{Name: "ci", Owner: "ada", Scope: scu.ScopeSubmit}, now)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := scu.KeyID(text); !ok || id != k.ID || !strings.HasPrefix(text, k.Prefix()) {
		t.Errorf("%s is of %q, %v", k.Prefix(), id, ok)
	}
	if !k.Matches(text) || other.Matches(text) || k.Matches(text[:len(text)-1]) || k.Matches("") || (scu.Key{}).Matches("") {
		t.Error("the wrong keys match")
	}
	if secret := text[len(k.Prefix())+1:]; strings.Contains(k.Hash, secret) || len(secret) != 64 {
		t.Error("the secret is kept, or short")
	}
	if k.Expired(now) || !k.Expired(soon) || other.Expired(soon) {
		t.Error("keys expire at the wrong time")
	}
	for _, text := range []string{"", "scu_", "scu_" + k.ID, "scu_" + k.ID + "_", text[1:], text + "0", strings.ToUpper(text), "scu_0123456789abcdeg_" + strings.Repeat("0", 64)} {
		if _, ok := scu.KeyID(text); ok {
			t.Errorf("%q has the form of a key", text)
		}
	}
}

func FuzzKeyID(f *testing.F) {
	f.Add("scu_0123456789abcdef_" + strings.Repeat("0", 64))
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := scu.KeyID(text); ok && (!scu.ValidJobID(id) || len(text) != 85) {
			t.Errorf("%q is of %q", text, id)
		}
	})
}

func TestKeysThatCannotBe(t *testing.T) {
	now := time.Now()
	good := scu.Key{Name: "ci", Owner: "ada", Scope: scu.ScopeSubmit}
	for field, change := range map[string]func(*scu.Key){
		"name":       func(k *scu.Key) { k.Name = "a\nb" },
		"scope":      func(k *scu.Key) { k.Scope = "root" },
		"owner":      func(k *scu.Key) { k.Owner = "" },
		"limits":     func(k *scu.Key) { k.Limits.Queued = -1 },
		"expires_at": func(k *scu.Key) { k.ExpiresAt = &now },
	} {
		k := good
		change(&k)
		if _, _, err := scu.NewKey(k, now); scu.CodeOf(err) != scu.CodeInvalid || scu.AsError(err).Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		has, needs scu.Scope
		want       bool
	}{
		{"admin", "admin", true}, {"admin", "submit", true}, {"admin", "read", true},
		{"submit", "admin", false}, {"submit", "submit", true}, {"submit", "read", true},
		{"read", "admin", false}, {"read", "submit", false}, {"read", "read", true},
		{"", "read", false}, {"", "", false}, {"root", "read", false},
	} {
		if got := c.has.Allows(c.needs); got != c.want {
			t.Errorf("%q for %q: %v", c.has, c.needs, got)
		}
	}
}
