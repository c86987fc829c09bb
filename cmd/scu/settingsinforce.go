package main

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"
)

// What the settings are here and now, and what was meant for one and isn't.

func (a *app) settingsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "settings",
		Short: "Every setting, its value here and where that comes from",
		Long:  settingsHelp(),
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a.ran = true
			s, err := a.load(c)
			if err != nil {
				return err
			}
			if a.json {
				return printJSON(a.out, map[string]any{"settings": s.inForce()})
			}
			w := newTable(a.out, "SETTING\tVALUE\tFROM")
			for _, v := range s.inForce() {
				fmt.Fprintf(w, "%s\t%s\t%s\n", v.Name, v.Value, v.From)
			}
			fmt.Fprintln(w, "\nWhat each does, its default and hazards: scu help settings")
			return w.Flush()
		},
	}
}

// valueInForce is a setting's value; a secret is only told to be set.
type valueInForce struct {
	Name  string `json:"name"`
	Value string `json:"value"`
	From  string `json:"from"` // a flag, a variable, a file's name, or "default"
}

// inForce lists the values of s in the order of the settings.
func (s *Settings) inForce() []valueInForce {
	fields := map[string]reflect.Value{}
	for v, i := reflect.ValueOf(s).Elem(), 0; i < v.NumField(); i++ {
		fields[v.Type().Field(i).Tag.Get("koanf")] = v.Field(i)
	}
	out := make([]valueInForce, len(settings))
	for i, x := range settings {
		out[i] = valueInForce{x.name, fmt.Sprint(fields[x.name].Interface()), "default"}
		if list, ok := fields[x.name].Interface().([]string); ok {
			out[i].Value = strings.Join(list, ",")
		}
		if from := s.from[x.name]; from != "" {
			out[i].From = from
		}
		if out[i].Value != "" && slices.Contains(secrets, x.name) {
			out[i].Value = "(set)"
		}
	}
	return out
}

// ofOrchestrators matches variables that Kubernetes and Docker set for a service named scu.
var ofOrchestrators = regexp.MustCompile(`_SERVICE_(HOST|PORT)|_PORT(_|$)`)

// otherVariables are read elsewhere: by loadSettings itself, and by the kernels.
var otherVariables = []string{configVariable, "SCU_CPU", "SCU_DEVICE", "SCU_CUBLASLT", "SCU_CUDA_DRIVER"}

// unknownVariables names the variables of the environment that look like settings and
// are none, each with the one that it most likely means, or "".
func unknownVariables(environ []string) (unknown [][2]string) {
	known := slices.Clone(otherVariables)
	for _, s := range settings {
		known = append(known, variable(s.name))
	}
	for _, name := range secrets {
		known = append(known, secretVariable(name))
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if value == "" || !strings.HasPrefix(name, "SCU_") || slices.Contains(known, name) || ofOrchestrators.MatchString(name) {
			continue
		}
		near, least := "", 4 // this many letters make another name
		for _, k := range known {
			if n := levenshtein.ComputeDistance(name, k); n < least {
				near, least = k, n
			}
		}
		unknown = append(unknown, [2]string{name, near})
	}
	slices.SortFunc(unknown, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return unknown
}

// load reads a command's settings and warns of variables that are none.
func (a *app) load(c *cobra.Command) (Settings, error) {
	s, err := loadSettings(c.Flags())
	if err != nil || a.json {
		return s, err
	}
	for _, x := range unknownVariables(os.Environ()) {
		meant := "see: scu help settings"
		if x[1] != "" {
			meant = "did you mean " + x[1] + "?"
		}
		fmt.Fprintf(a.err, "scu: warning: %s is no setting and does nothing; %s\n", x[0], meant)
	}
	return s, nil
}
