package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu/kernels/devices"
)

// release is the version, set by the linker: -X main.release=v1.2.3.
var release string

// version is the release, or what the build knows of its commit.
func version() string {
	if release != "" {
		return release
	}
	commit, dirty := "", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch {
			case s.Key == "vcs.revision" && len(s.Value) >= 12:
				commit = s.Value[:12]
			case s.Key == "vcs.modified" && s.Value == "true":
				dirty = "-dirty"
			}
		}
	}
	if commit == "" {
		return "dev"
	}
	return "dev-" + commit + dirty
}

func versionText() string {
	return fmt.Sprintf("scu %s (%s, %s/%s)", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, and what jobs would run on here",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			about := devices.About(runtime.GOMAXPROCS(0))
			if a.json {
				return printJSON(a.out, map[string]any{"version": version(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH, "devices": about})
			}
			_, err := fmt.Fprintf(a.out, "%s\n%s\n", versionText(), strings.Join(about, "\n"))
			return err
		},
	}
}
