package scu

import (
	"path/filepath"
	"strings"
	"unicode"
)

const (
	maxFileName     = 100 // bytes
	defaultFileName = "data"
)

// SafeFileName makes what a user called a file into a name that is safe as one
// element of a path: no folders, no control characters, no leading dot, at most
// 100 bytes, the ending kept. If nothing is left it is "data".
func SafeFileName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	name = strings.Map(func(r rune) rune {
		switch {
		case r == unicode.ReplacementChar, !unicode.IsPrint(r), strings.ContainsRune(`:*?"<>|`, r):
			return '_'
		}
		return r
	}, strings.ToValidUTF8(name, "_"))
	name = strings.Trim(name, ". ")
	if len(name) > maxFileName {
		ext := filepath.Ext(name)
		if len(ext) > 20 {
			ext = ""
		}
		name = strings.ToValidUTF8(name[:maxFileName-len(ext)], "") + ext
	}
	if name == "" {
		return defaultFileName
	}
	return name
}
