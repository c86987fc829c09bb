package scu

import "strings"

// An owner is whom jobs, files, comparisons and webhooks belong to: a person, a team or a
// program. It comes from the API key that a request shows and never from its body. The
// empty owner is the administrator's, as is everything that was made without keys.

// ValidOwner reports whether name can name an owner: 1 to 64 letters, digits, '-', '_',
// '.' or '@', of which the first is a letter or a digit.
func ValidOwner(name string) bool {
	return name != "" && strings.TrimLeft(name[:1], "-_.@") != "" && ValidClass(strings.NewReplacer(".", "_", "@", "_").Replace(name))
}
