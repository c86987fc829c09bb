package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/kernels/devices"
)

// look is one thing that doctor looked at.
type look struct {
	What   string `json:"what"`
	OK     bool   `json:"ok"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"` // what to do if it isn't ok
}

func (a *app) doctorCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Look at this machine: GPUs, memory, disk, limits, the server",
		Long: `Says what is built in and found here, and of what doesn't work why and what to do.
It changes nothing but a file in the data folder, which it removes. It ends with 1 if
something is wrong.`,
		Args: cobra.NoArgs,
		RunE: a.role(func(ctx context.Context, s Settings, _ []string) error {
			checks := diagnose(ctx, s)
			bad := 0
			for _, c := range checks {
				if !c.OK {
					bad++
				}
			}
			if a.json {
				if err := printJSON(a.out, map[string]any{"ok": bad == 0, "checks": checks}); err != nil {
					return err
				}
			} else {
				for _, c := range checks {
					mark := "ok "
					if !c.OK {
						mark = "BAD"
					}
					fmt.Fprintf(a.out, "%s  %-12s %s\n", mark, c.What, c.Found)
					if c.Advice != "" {
						fmt.Fprintf(a.out, "     %-12s -> %s\n", "", c.Advice)
					}
				}
			}
			if bad > 0 {
				return scu.Errorf(scu.CodeInvalid, "%d of %d checks found something wrong", bad, len(checks))
			}
			return nil
		}),
	}
	addFlags(c.Flags(), slices.Concat(clientSettings, []string{"data", "gpus", "threads"}))
	return c
}

func diagnose(ctx context.Context, s Settings) []look {
	checks := []look{{What: "program", OK: true, Found: versionText()}}
	for _, f := range devices.Find(runtime.GOMAXPROCS(0), s.GPUs...) {
		checks = append(checks, look{f.What, f.Err == nil || f.Optional, f.Found, f.Advice})
	}
	checks = append(checks, look{What: "cpu", OK: true, Found: fmt.Sprintf("%d of %d cores, %s", runtime.GOMAXPROCS(0), runtime.NumCPU(), devices.CPUFeatures())})
	checks = append(checks, hostChecks(s.Data)...)
	checks = append(checks, dataFolder(s.Data))
	if c, asked := server(ctx, s); asked {
		checks = append(checks, c)
	}
	return checks
}

// dataFolder writes a file where the service would.
func dataFolder(dir string) look {
	c := look{What: "data folder"}
	at, err := filepath.Abs(dir)
	if err == nil {
		dir = at
	}
	for ; ; dir = filepath.Dir(dir) { // what isn't there is made by serve
		if _, err = os.Stat(dir); !errors.Is(err, os.ErrNotExist) || filepath.Dir(dir) == dir {
			break
		}
	}
	var f *os.File
	if err == nil {
		f, err = os.CreateTemp(dir, "scu-doctor-*")
	}
	if err != nil {
		c.Found, c.Advice = err.Error(), "choose another folder with --data, or let this user write to it"
		return c
	}
	f.Close()
	os.Remove(f.Name())
	c.OK, c.Found = true, dir+" can be written"
	if dir != at {
		c.Found += "; " + at + " is made in it at the first start"
	}
	return c
}

// server asks the server for its health, if one is named.
func server(ctx context.Context, s Settings) (look, bool) {
	if s.from["api-url"] == "" {
		return look{}, false
	}
	c := look{What: "server"}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	var list client.TrainerList
	var health client.Health
	api, err := client.New(s.APIURL, s.APIKey)
	if err == nil {
		list, err = api.Trainers(ctx)
	}
	if err == nil {
		health, err = api.Health(ctx)
	}
	if err != nil {
		c.Found, c.Advice = strings.TrimSpace(s.APIURL+": "+err.Error()), "check --api-url and --api-key, and that scu serve runs there"
		return c, true
	}
	c.OK, c.Found = true, fmt.Sprintf("%s answers and is %s; %d trainers are there%s", s.APIURL, health.Status, list.Count, copiesOf(health))
	switch copies := health.Copies; {
	case health.Status != client.Healthy:
		c.OK, c.Advice = false, "what doesn't work: "+strings.Join(health.Problems, ", ")+"; docs/operations.md says what to do"
	case copies != nil && copies.Current < copies.Kept:
		c.OK, c.Advice = false, "a server of the NATS cluster is down or behind; jobs go on, and another one that fails may stop them"
	}
	return c, true
}
