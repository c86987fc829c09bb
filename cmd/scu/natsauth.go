package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/logins"
)

func (a *app) natsAuthCommand() *cobra.Command {
	var dir, address string
	var older []string
	var update bool
	c := &cobra.Command{
		Use:   "nats-auth --dir DIR [--update] [--older TRAINER] TRAINER...",
		Short: "Write the logins of a NATS server, each with the least rights",
		Long: `Writes, for a NATS server that isn't scu serve's own:

  nats.conf              its users and what each may do: include it, or name it with --config
  nats-operator          the URL for scu api (SCU_NATS_URL_FILE)
  nats-projector         the URL for scu projector
  nats-arbiter           the URL for what of scu projector answers trainers, if it is to
                         (SCU_ARBITER_NATS_URL_FILE)
  nats-trainer-TRAINER   the URL for the scu trainer of that name
  nats-reader            a URL for programs that watch live metrics and do nothing else

A trainer's login lets it ask the API, or a projector, for what it needs, in its own
name and those of its further GPUs (TRAINER-2 and on), and nothing else. Trainers of older
versions write to NATS themselves, for which they need rights to end any job: --older
TRAINER writes a login with these, until that trainer is upgraded.

The files hold passwords. What is there already is not written again; with --update
only nats.conf is, for the trainers that are named now, and users that have a file keep
their passwords: nats-server --signal reload makes it count.`,
		Args: cobra.ArbitraryArgs,
	}
	f := c.Flags()
	f.StringVar(&dir, "dir", "", "folder to write to")
	f.StringSliceVar(&older, "older", nil, "trainers of versions that write to NATS themselves, comma-separated")
	f.StringVar(&address, "address", "127.0.0.1:4222", "host:port of the server, for the URLs; of a cluster's servers, comma-separated")
	f.BoolVar(&update, "update", false, "give the users in the folder the rights of this version and of these trainers: who has a file keeps the password in it, others get one")
	required(c, "dir")
	c.RunE = a.run(func(_ context.Context, _ Settings, trainers []string) error {
		if len(trainers)+len(older) == 0 {
			return scu.Errorf(scu.CodeInvalid, "no trainer is named").WithHint("name each that gets a login")
		}
		for _, name := range slices.Concat(trainers, older) {
			if !scu.ValidTrainer(name) {
				return scu.Errorf(scu.CodeInvalid, "%q can't name a trainer", name).WithHint("use letters, digits, - and _")
			}
			for _, other := range trainers {
				if other != name && broker.SpeaksFor(other, name) {
					return scu.Errorf(scu.CodeInvalid, "trainer %q is called as a further GPU of trainer %q is", name, other).WithHint("choose another name, as %s", strings.ReplaceAll(name, "-", "_"))
				}
			}
		}
		names := slices.Concat(trainers, older)
		slices.Sort(names)
		all := broker.Logins(slices.Compact(names))
		for i := range all {
			for _, name := range older {
				if all[i].User == broker.TrainerUser(name) {
					all[i].Publish, all[i].Subscribe = broker.DirectRights(name)
				}
			}
		}
		if update {
			return logins.Update(dir, address, all)
		}
		return logins.Write(dir, address, all)
	})
	return c
}
