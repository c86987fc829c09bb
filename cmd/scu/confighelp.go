package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
)

// configHelp is the text of scu help config.
func configHelp() string {
	var b strings.Builder
	b.WriteString("Settings of a job: --set FIELD=VALUE, a JSON file for --config, or config_overrides\n" +
		"over HTTP. Each may be left out. The same as a JSON schema: GET /openapi.json.\n")
	for _, f := range scu.ConfigFields() {
		fmt.Fprintf(&b, "\n%s%s\n", f.Path, rangeOf(f))
		for _, line := range wrap(f.Description, 76) {
			b.WriteString("    " + line + "\n")
		}
	}
	return b.String()
}

// rangeOf is a field's type, range and default in brackets.
func rangeOf(f scu.ConfigField) string {
	s := f.Type
	switch {
	case len(f.Enum) > 0:
		s = strings.Join(f.Enum, " | ")
	case f.Minimum != nil && f.Maximum != nil:
		s += fmt.Sprintf(", %g to %g", *f.Minimum, *f.Maximum)
	}
	if len(f.Default) > 0 {
		s += ", default " + string(f.Default)
	}
	return " (" + s + ")"
}

// completeSet completes --set: first the field, then the values of those that have few.
func completeSet(_ *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	field, _, valued := strings.Cut(typed, "=")
	var out []string
	for _, f := range scu.ConfigFields() {
		switch {
		case !valued && strings.HasPrefix(f.Path, typed):
			out = append(out, f.Path+"=\t"+strings.TrimSpace(rangeOf(f)))
		case valued && f.Path == field:
			values := f.Enum
			if f.Type == "boolean" {
				values = []string{"true", "false"}
			}
			for _, v := range values {
				out = append(out, field+"="+v)
			}
		}
	}
	return out, cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}
