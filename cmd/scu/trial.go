package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/trial"
)

// trialName is the subcommand that this program starts itself under to try a model.
const trialName = "try-model"

func (a *app) trialCommand() *cobra.Command {
	return &cobra.Command{
		Use: trialName, Hidden: true, Args: cobra.NoArgs,
		Short: "Read a model in a process that may be killed",
		RunE: func(c *cobra.Command, _ []string) error {
			a.ran = true
			return trial.Main(c.Context(), os.Stdin, os.Stdout)
		},
	}
}

// newTrials makes what tries models in processes of this program.
func newTrials() (*trial.Program, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, scu.Errorf(scu.CodeInternal, "the program doesn't find itself: %w", err)
	}
	return trial.New(path, os.Args[0], trialName), nil
}
