package main

import (
	"regexp"
	"strings"
)

// Hints come from the server and the domain in the words of HTTP and of the
// configuration. Here they are said in those of the command line.

var (
	besideOverrides = regexp.MustCompile(`set (\w+) beside config_overrides(, not in it)?`)
	jobRoutes       = regexp.MustCompile(`(?:GET|POST) /jobs/([0-9a-f]{16}|\{id\})/(status|adapter|checkpoints/last|cancel|stop)`)
)

// flagOf is the flag of a field that stands beside the configuration.
var flagOf = map[string]string{
	"base_model": "--base-model", "train_data_path": "--train-data", "val_data_path": "--val-data", "other_data_path": "--other-data", "from_adapter": "--from-adapter",
}

var otherWords = strings.NewReplacer(
	"upload it with POST /files", "name a file on this machine: it is uploaded",
	"upload the file with POST /files", "name a file on this machine: it is uploaded",
	"upload a zip of the adapter with POST /files, and give its id", "see: scu train --help",
	"GET /jobs lists those that are here", "see: scu jobs",
	"send Authorization: Bearer <key>; the command line takes it from SCU_API_KEY", "set SCU_API_KEY",
	"GET /docs shows what each request takes", "see: scu help config, and the command's --help",
)

// inFlags says a hint in the words of the command line.
func inFlags(hint string) string {
	hint = besideOverrides.ReplaceAllStringFunc(hint, func(s string) string {
		if flag := flagOf[besideOverrides.FindStringSubmatch(s)[1]]; flag != "" {
			return "use " + flag
		}
		return s
	})
	hint = jobRoutes.ReplaceAllStringFunc(hint, func(s string) string {
		m := jobRoutes.FindStringSubmatch(s)
		id := m[1]
		if id == "{id}" {
			id = "JOB"
		}
		switch m[2] {
		case "adapter":
			return "scu download " + id + " --output-dir DIR"
		case "checkpoints/last":
			return "scu download " + id + " --checkpoint last --output-dir DIR"
		}
		return "scu " + m[2] + " " + id
	})
	return otherWords.Replace(hint)
}
