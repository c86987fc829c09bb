package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
	checks = append(checks, look{What: "cpu", OK: true, Found: fmt.Sprintf("%d of %s, %s", runtime.GOMAXPROCS(0), scu.Counted(runtime.NumCPU(), "core"), devices.CPUFeatures())})
	checks = append(checks, hostChecks(s.Data)...)
	checks = append(checks, dataFolder(s.Data))
	if c, asked := server(ctx, s); asked {
		checks = append(checks, c)
	}
	return checks
}

// littleDisk is the room below which a service runs into its disk's end soon.
const littleDisk = 5 << 30

// hostChecks are the machine's memory, disk and limits, of which some are known on Linux
// and macOS alone.
func hostChecks(data string) (checks []look) {
	if free, total := devices.CPU(1).Available(); total > 0 {
		checks = append(checks, look{What: "memory", OK: true, Found: fmt.Sprintf("%d MiB available of %d MiB, which control groups may limit", free>>20, total>>20)})
	}
	at, _ := existing(data)
	if free, _, ok := diskRoom(at); ok {
		c := look{What: "disk", OK: free >= littleDisk, Found: fmt.Sprintf("%.1f GiB free for %s", float64(free)/(1<<30), data)}
		if !c.OK {
			c.Advice = "models, checkpoints and adapters need room: choose another folder with --data"
		}
		checks = append(checks, c)
	}
	if n, ok := handleLimit(); ok {
		c := look{What: "open files", OK: n >= fewHandles, Found: fmt.Sprintf("at most %d", n)}
		if !c.OK {
			c.Advice = handleAdvice
		}
		checks = append(checks, c)
	}
	return checks
}

// existing is the folder itself, absolute, or the nearest above it that is there: what
// isn't, serve makes.
func existing(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err = os.Stat(dir); !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			return dir, err
		}
	}
}

// dataFolder writes a file where the service would.
func dataFolder(dir string) look {
	c := look{What: "data folder"}
	at, err := existing(dir)
	var f *os.File
	if err == nil {
		f, err = os.CreateTemp(at, "scu-doctor-*")
	}
	if err != nil {
		c.Found, c.Advice = err.Error(), "choose another folder with --data, or let this user write to it"
		return c
	}
	f.Close()
	os.Remove(f.Name())
	c.OK, c.Found = true, at+" can be written"
	if dir, _ := filepath.Abs(dir); dir != at {
		c.Found += "; " + dir + " is made in it at the first start"
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
	c.OK, c.Found = true, fmt.Sprintf("%s answers and is %s; it has %s%s", s.APIURL, health.Status, scu.Counted(list.Count, "trainer"), copiesOf(health))
	switch copies := health.Copies; {
	case health.Status != client.Healthy:
		c.OK, c.Advice = false, "what doesn't work: "+strings.Join(health.Problems, ", ")+"; docs/operations.md says what to do"
	case copies != nil && copies.Current < copies.Kept:
		c.OK, c.Advice = false, "a server of the NATS cluster is down or behind; jobs go on, and another one that fails may stop them"
	case len(health.Warnings) > 0:
		c.OK, c.Advice = false, strings.Join(health.Warnings, "; ")
	}
	return c, true
}
