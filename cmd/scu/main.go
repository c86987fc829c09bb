// Command scu is the whole service in one program: the server and its roles, and
// the client commands, which speak HTTP only.
//
// It is the only place where the roles are wired together. It promises:
//
//   - Every setting is a flag, a variable or a key of a file; see settings.go.
//   - Errors go to stderr and say what is wrong and what to do; the exit code says
//     of what kind they are; see exit.go.
//   - With --json what a command answers is one JSON object on stdout; watch
//     answers with one a line.
//   - A server that is told to stop loses nothing: jobs go on at the next start.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

func main() { os.Exit(run()) }

// run runs the program and returns its exit code.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	a := &app{out: os.Stdout, err: os.Stderr}
	c, err := a.root().ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	if !a.ran { // cobra refused the command line, perhaps before it came to --json
		a.json = slices.Contains(os.Args, "--json")
		if known := (*scu.Error)(nil); !errors.As(err, &known) {
			err = scu.Errorf(scu.CodeInvalid, "%w", err).WithHint("see: %s --help", c.CommandPath())
		}
	}
	printError(a.err, err, a.json)
	return exitCode(err)
}

// endSignals ask the program to end in good order. A hangup that was ignored when
// the program started (nohup) stays ignored.
func endSignals() []os.Signal {
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	return signals
}

// app is what all commands share.
type app struct {
	out, err io.Writer
	json     bool
	ran      bool // a command began: errors from then on are not the command line's
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "scu",
		Short: "Fine-tune language models with LoRA under a Shannon Control Unit",
		Long: `Fine-tunes causal language models with LoRA under a Shannon Control Unit, which
adapts the regularisation strength so that the adapter's information stays a chosen
share of the whole.

Start a server with scu serve, then train with scu train. scu demo shows all of it.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
		Args:          cobra.ArbitraryArgs,
		RunE:          onlySubcommands,
	}
	root.SetVersionTemplate(versionText() + "\n")
	root.SetUsageTemplate(usageTemplate(root.UsageTemplate()))
	root.SetHelpCommand(helpCommand())
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.BoolVar(&a.json, "json", false, "answer with one JSON object, also for errors")
	f.String(configFile, "", "file of settings, YAML or JSON ["+configVariable+"]")
	addFlags(f, clientSettings)
	root.AddGroup(&cobra.Group{ID: "client", Title: "Training:"}, &cobra.Group{ID: "local", Title: "Without a server:"}, &cobra.Group{ID: "server", Title: "Servers:"})
	group := func(id string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = id
			root.AddCommand(c)
		}
	}
	group("client", a.trainCommand(), a.statusCommand(), a.jobsCommand(), a.trainersCommand(), a.watchCommand(), a.metricsCommand(), a.exportCommand(), a.plotCommand(), a.cancelCommand(), a.compareCommand(), a.webhooksCommand(), a.stopCommand(), a.pauseCommand(), a.queueCommand(), a.resumeCommand(), a.retryCommand(), a.deleteCommand(), a.filesCommand(), a.gcCommand(), a.blobsCommand(), a.downloadCommand(), a.checkpointsCommand(), a.recommendCommand(), a.validateCommand(), a.healthCommand())
	group("server", a.serveCommand(), a.apiCommand(), a.trainerCommand(), a.projectorCommand(), a.natsAuthCommand(), a.keysCommand())
	group("client", a.demoCommand())
	group("local", a.dataCommand(), a.estimateCommand(), a.evalCommand(), a.generateCommand(), a.mergeCommand())
	root.AddCommand(a.versionCommand(), a.doctorCommand(), a.settingsCommand(), a.trialCommand(),
		&cobra.Command{Use: "config", Short: "Every setting of a job, its default, range and hazards", Long: configHelp()},
		&cobra.Command{Use: "settings", Short: "Every setting, its default and its hazards", Long: settingsHelp()},
		&cobra.Command{Use: "exit-codes", Short: "What the exit codes mean", Long: exitHelp()},
	)
	tellArguments(root)
	return root
}

// run makes a command's function: it gets the settings and the arguments.
func (a *app) run(f func(ctx context.Context, s Settings, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		a.ran = true
		s, err := a.load(c)
		if err != nil {
			return err
		}
		return f(c.Context(), s, args)
	}
}

// role makes the function of a command that serves: being told to stop is no error.
// A server outlives the reader of its log: in "scu serve | tee log" Ctrl-C ends tee
// first, and a write to the closed pipe must not end the server before it drains.
func (a *app) role(f func(ctx context.Context, s Settings, args []string) error) func(*cobra.Command, []string) error {
	return a.run(func(ctx context.Context, s Settings, args []string) error {
		signal.Ignore(syscall.SIGPIPE)
		err := f(ctx, s, args)
		if ctx.Err() != nil && errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	})
}

// onlySubcommands is what a command that does nothing by itself runs: it shows the
// help, and refuses an argument that is no subcommand of it.
func onlySubcommands(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	err := scu.Errorf(scu.CodeInvalid, "unknown command %q for %q", args[0], c.CommandPath())
	c.SuggestionsMinimumDistance = 2 // as cobra has it where it suggests by itself
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return err.WithHint("did you mean %q?", near[0])
	}
	return err.WithHint("see: %s --help", c.CommandPath())
}

// helpCommand is cobra's, but an unknown topic is an error and not a page of help.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(c *cobra.Command, args []string) error {
			topic, rest, err := c.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return scu.Errorf(scu.CodeInvalid, "no help on %q", strings.Join(args, " ")).WithHint("see: scu --help")
			}
			return topic.Help()
		},
	}
}

// required refuses a command line without these flags.
func required(c *cobra.Command, names ...string) {
	for _, name := range names {
		if err := c.MarkFlagRequired(name); err != nil {
			panic(err) // no such flag
		}
	}
}

// call makes the function of a command that asks a server. Jobs and files may be named as
// OpenAI's API names them.
func (a *app) call(f func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return a.run(func(ctx context.Context, s Settings, args []string) error {
		c, err := client.New(s.APIURL, s.APIKey)
		if err != nil {
			return err
		}
		own := make([]string, len(args))
		for i, arg := range args {
			own[i] = scu.OwnID(arg)
		}
		return f(ctx, c, own)
	})
}
