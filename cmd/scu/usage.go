package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Flags have usages of several lines. They are wrapped at the terminal's width, or
// at 80 columns where the help goes to a file or a pipe.

// usageTemplate is cobra's, with wrapped flags.
func usageTemplate(cobras string) string {
	cobra.AddTemplateFunc("wrapped", wrappedUsages)
	return strings.NewReplacer(
		".LocalFlags.FlagUsages", "wrapped .LocalFlags",
		".InheritedFlags.FlagUsages", "wrapped .InheritedFlags",
	).Replace(cobras)
}

// wrappedUsages is a set of flags as the help shows it.
func wrappedUsages(flags interface{ FlagUsagesWrapped(int) string }) string {
	return flags.FlagUsagesWrapped(helpWidth())
}

// helpWidth is the columns that help may take.
func helpWidth() int {
	width, _, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || width < 40 {
		return 80
	}
	return min(width, 120)
}
