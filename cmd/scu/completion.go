package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/models"
)

// What shells complete besides commands and flags: ids of jobs, base models.

// completionTime bounds what a completion waits for the server: a key was pressed.
const completionTime = time.Second

// completeJobs offers the newest jobs, each with its name, model and status. Without a
// server there are none to offer.
func (a *app) completeJobs(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	const no = cobra.ShellCompDirectiveNoFileComp
	if len(args) > 0 && c.Args(c, append(args, "")) != nil { // takes no more
		return nil, no
	}
	s, err := loadSettings(c.Flags())
	if err != nil {
		return nil, no
	}
	api, err := client.New(s.APIURL, s.APIKey)
	if err != nil {
		return nil, no
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	list, err := api.Jobs(ctx, client.JobsFilter{})
	if err != nil {
		return nil, no
	}
	ids := make([]string, len(list.Jobs))
	for i, j := range list.Jobs {
		about := filepath.Base(j.BaseModel) + ", " + string(j.Status)
		if j.Name != "" {
			about = j.Name + ", " + about
		}
		ids[i] = cobra.CompletionWithDesc(j.JobID, about)
	}
	return ids, no
}

// completeModels offers the built-in model and, as folders, what lies here.
func completeModels(_ *cobra.Command, _ []string, start string) ([]string, cobra.ShellCompDirective) {
	names := []string{cobra.CompletionWithDesc(models.BuiltIn, "built in")}
	configs, _ := filepath.Glob(start + "*/config.json") // the pattern is the user's: a bad one matches nothing
	for _, path := range configs {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			names = append(names, filepath.Dir(path))
		}
	}
	return names, cobra.ShellCompDirectiveDefault
}

// completes has the shell complete a flag's value by f.
func completes(c *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := c.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // no such flag
	}
}
