package main

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/shannon-control/scu"
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

// flagError says what a flag takes in place of how Go failed to read it.
func flagError(c *cobra.Command, err error) error {
	var bad *pflag.InvalidValueError
	if !errors.As(err, &bad) {
		return err
	}
	want, ok := flagWants[bad.GetFlag().Value.Type()]
	if !ok {
		return err
	}
	return scu.Errorf(scu.CodeInvalid, "--%s: %q is not %s", bad.GetFlag().Name, bad.GetValue(), want).WithHint("see: %s --help", c.CommandPath())
}

// flagWants says what flags of a type take.
var flagWants = map[string]string{
	"int": "a whole number", "int64": "a whole number", "float64": "a number", "bool": "true or false", "duration": "a duration, such as 30s",
}

// tellArguments has c and the commands below it refuse wrong arguments by their own usage, in
// place of cobra's counts and of its "unknown command" for what may be a model or a file.
func tellArguments(c *cobra.Command) {
	for _, sub := range c.Commands() {
		tellArguments(sub)
	}
	takes := c.Args
	if takes == nil {
		return
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if takes(c, args) == nil {
			return nil
		}
		err := scu.Errorf(scu.CodeInvalid, "an argument is missing")
		if len(args) > 0 {
			err = scu.Errorf(scu.CodeInvalid, "an argument too many: %q", args[len(args)-1])
		}
		return err.WithHint("it is used so: %s; see: %s --help", c.UseLine(), c.CommandPath())
	}
}
