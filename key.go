package scu

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
	"time"
	"unicode/utf8"
)

// Scope is what an API key allows. Each scope allows what those before it do.
type Scope string

const (
	ScopeRead   Scope = "read"   // look at what the owner has
	ScopeSubmit Scope = "submit" // make and change what the owner has
	ScopeAdmin  Scope = "admin"  // everything, of everybody
)

// Scopes lists every scope, the smallest first.
var Scopes = []Scope{ScopeRead, ScopeSubmit, ScopeAdmin}

// Allows reports whether a key of scope s may do what needs a scope.
func (s Scope) Allows(needed Scope) bool { return s.rank() > 0 && s.rank() >= needed.rank() }

func (s Scope) rank() int {
	for i, x := range Scopes {
		if s == x {
			return i + 1
		}
	}
	return 0
}

// Limits bound what an owner has at a time; 0 is no bound.
type Limits struct {
	Queued  int   `json:"max_queued,omitempty" minimum:"0" doc:"Jobs that wait: queued, scheduled or paused"`
	Running int   `json:"max_running,omitempty" minimum:"0" doc:"Jobs that run at once; more wait in the queue"`
	Files   int   `json:"max_files,omitempty" minimum:"0" doc:"Files that are kept"`
	Bytes   int64 `json:"max_bytes,omitempty" minimum:"0" doc:"Bytes of the files that are kept"`
}

// Or returns the limits, and other's where l sets none.
func (l Limits) Or(other Limits) Limits {
	if l.Queued == 0 {
		l.Queued = other.Queued
	}
	if l.Running == 0 {
		l.Running = other.Running
	}
	if l.Files == 0 {
		l.Files = other.Files
	}
	if l.Bytes == 0 {
		l.Bytes = other.Bytes
	}
	return l
}

// Most returns the greater of each of two limits.
func (l Limits) Most(other Limits) Limits {
	return Limits{max(l.Queued, other.Queued), max(l.Running, other.Running), max(l.Files, other.Files), max(l.Bytes, other.Bytes)}
}

// Key is an API key as it is kept: by its hash. The key itself is shown once, when it is
// made. Its random part has 256 bits, so a plain sha256 is enough: nobody can try them
// all, which is what slow hashes are against.
type Key struct {
	ID        string     `json:"key_id"` // part of the key, which is found by it
	Name      string     `json:"name"`
	Owner     string     `json:"owner,omitempty"` // empty: the administrator
	Scope     Scope      `json:"scope"`
	Limits    Limits     `json:"limits"`
	Hash      string     `json:"hash"` // sha256 of the key, hex
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	LastUsed  *time.Time `json:"last_used,omitempty"` // to the hour or so; kept apart
	Revision  uint64     `json:"-"`                   // of the table, when the key came into it
}

// KeyTable is all keys, as they are at one time.
type KeyTable struct {
	Keys     []Key  // the oldest first
	Made     bool   // what [Keys.KeysMade] reports
	Revision uint64 // grows with each change
}

// KeyPrefix begins every API key, so that leaked ones can be searched for.
const KeyPrefix = "scu_"

// maxKeyName bounds a key's name, in characters.
const maxKeyName = 100

// NewKey makes a key of the given name, owner, scope, limits and expiry. text is the key
// itself, which can't be had again: scu_<id>_<64 hex digits>.
func NewKey(k Key, now time.Time) (_ Key, text string, err error) {
	switch {
	case strings.TrimSpace(k.Name) == "" || utf8.RuneCountInString(k.Name) > maxKeyName || strings.ContainsFunc(k.Name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return k, "", Errorf(CodeInvalid, "a key's name has 1 to %d characters, none of them a control character", maxKeyName).At("name")
	case k.Scope.rank() == 0:
		return k, "", Errorf(CodeInvalid, "%.40q is no scope", string(k.Scope)).At("scope").WithHint("use read, submit or admin")
	case k.Owner == "" && k.Scope != ScopeAdmin:
		return k, "", Errorf(CodeInvalid, "a key of scope %s needs an owner, whose jobs and files it is for", k.Scope).At("owner").WithHint("name a person, a team or a program")
	case k.Owner != "" && !ValidOwner(k.Owner):
		return k, "", Errorf(CodeInvalid, "%.80q can't name an owner", k.Owner).At("owner").WithHint("use 1 to 64 letters, digits, '-', '_', '.' and '@', beginning with a letter or digit")
	case k.Limits.Queued < 0 || k.Limits.Running < 0 || k.Limits.Files < 0 || k.Limits.Bytes < 0:
		return k, "", Errorf(CodeInvalid, "a limit can't be below 0").At("limits").WithHint("0 is no limit of its own")
	case k.Owner == "" && k.Limits != Limits{}:
		return k, "", Errorf(CodeInvalid, "limits are an owner's, and this key has none").At("owner")
	case k.ExpiresAt != nil && (!k.ExpiresAt.After(now) || !Storable(*k.ExpiresAt)):
		return k, "", Errorf(CodeInvalid, "the key would have expired already, or never does").At("expires_at").WithHint("give a time to come, or leave it out")
	}
	var secret [32]byte
	rand.Read(secret[:])
	k.ID, k.CreatedAt, k.LastUsed = NewJobID(), now.UTC(), nil
	text = KeyPrefix + k.ID + "_" + hex.EncodeToString(secret[:])
	k.Hash = hashKey(text)
	return k, text, nil
}

// KeyID is the id that a key's text names; ok reports whether it has the form of one.
func KeyID(text string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(text, KeyPrefix)
	if !ok {
		return "", false
	}
	id, secret, _ := strings.Cut(rest, "_")
	return id, ValidJobID(id) && isHex(secret, 64)
}

// Matches reports, in constant time, whether text is the key itself.
func (k Key) Matches(text string) bool {
	return subtle.ConstantTimeCompare([]byte(hashKey(text)), []byte(k.Hash)) == 1
}

// Expired reports whether the key's time is over.
func (k Key) Expired(now time.Time) bool { return k.ExpiresAt != nil && !now.Before(*k.ExpiresAt) }

// Prefix is how the key begins, for people: it is known to be this one by it.
func (k Key) Prefix() string { return KeyPrefix + k.ID }

func hashKey(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Keys keeps API keys, for every API of a service. An id of none is CodeNotFound.
type Keys interface {
	// AddKey keeps a new key.
	AddKey(ctx context.Context, k Key) error
	// Key returns one as it is kept now.
	Key(ctx context.Context, id string) (Key, error)
	// Keys lists them, the oldest first, with when they were last used.
	Keys(ctx context.Context) ([]Key, error)
	// RemoveKey revokes a key.
	RemoveKey(ctx context.Context, id string) error
	// NoteKeyUse notes when a key was used.
	NoteKeyUse(ctx context.Context, id string, at time.Time) error
	// WatchKeys calls changed with the table: at once, at each change, and every second or
	// so as long as it is known to be still that. It returns when ctx ends.
	WatchKeys(ctx context.Context, changed func(KeyTable)) error
	// KeysMade reports whether a key was ever made. It is kept apart from the keys: if there
	// is none and one was made, they are lost, or were all revoked.
	KeysMade(ctx context.Context) (bool, error)
}
