package broker

import (
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker/logins"
)

// Users of an embedded server. The operator of a cluster gives users of its own the
// same rights (see [Rights]).
const (
	OperatorUser  = "operator"  // the API: everything
	ProjectorUser = "projector" // reads the log and the metrics, nothing else
	ReaderUser    = "reader"    // live metrics, nothing else
	trainerPrefix = "trainer-"
)

// TrainerUser is the NATS user of the trainer called name.
func TrainerUser(name string) string { return trainerPrefix + name }

// Rights returns the subjects that a user may publish to and subscribe to: nil is
// every subject, an empty list none. ok reports whether there is such a user. A trainer
// may ask arbiters in its own name, hear their answers and its cancels, and nothing else.
func Rights(user string) (publish, subscribe []string, ok bool) {
	name, isTrainer := strings.CutPrefix(user, trainerPrefix)
	switch {
	case user == OperatorUser:
		return nil, nil, true
	case user == ProjectorUser:
		publish, subscribe = projectorRights()
		return publish, subscribe, true
	case user == ReaderUser:
		return []string{}, []string{"scu.metrics.>"}, true
	case isTrainer && scu.ValidTrainer(name):
		return []string{askRoot + name + ".>"}, []string{inboxPrefix(user) + ".>", "scu.ctl." + name + ".>"}, true
	}
	return nil, nil, false
}

// projectorRights lets a projector follow the log and the metrics, and see whether NATS
// stores what it is told. Keys, files and adapters are out of its reach.
func projectorRights() (publish, subscribe []string) {
	publish = []string{"$JS.API.INFO", "$JS.API.STREAM.INFO." + jobsStream, probeSubject}
	for _, s := range []string{stateStream, metricsStream} {
		publish = append(publish, "$JS.API.STREAM.INFO."+s, "$JS.API.CONSUMER.CREATE."+s+".>", "$JS.API.CONSUMER.DELETE."+s+".>",
			"$JS.API.CONSUMER.INFO."+s+".>", "$JS.API.CONSUMER.MSG.NEXT."+s+".>", "$JS.FC."+s+".>")
	}
	return publish, []string{inboxPrefix(ProjectorUser) + ".>"}
}

// ArbiterUser is the user of an [Arbiter] that isn't the API's, on a server that isn't
// embedded; see [Logins].
const ArbiterUser = "arbiter"

// arbiterRights lets an [Arbiter] do for trainers what those of older versions did
// for themselves, and answer these.
func arbiterRights(trainers []string) (publish, subscribe []string) {
	publish, subscribe = DirectRights("*")
	publish = append(publish, "$JS.API.STREAM.INFO."+metricsStream, probeSubject) // for what ping asks
	// For the room that the log keeps for its open jobs.
	publish = append(publish, "$JS.API.CONSUMER.CREATE."+stateStream+".>", "$JS.API.CONSUMER.DELETE."+stateStream+".>", "$JS.API.CONSUMER.MSG.NEXT."+stateStream+".>")
	for _, name := range trainers {
		publish = append(publish, inboxPrefix(TrainerUser(name))+".>")
	}
	return publish, append(subscribe, inboxPrefix(ArbiterUser)+".>", askRoot+">")
}

// Logins are the users of a server that isn't embedded, with their rights: an operator,
// projector, arbiter and reader, and one for each trainer.
func Logins(trainers []string) (all []logins.Login) {
	users := []string{OperatorUser, ProjectorUser, ReaderUser}
	for _, name := range trainers {
		users = append(users, TrainerUser(name))
	}
	for _, user := range users {
		if publish, subscribe, ok := Rights(user); ok {
			all = append(all, logins.Login{User: user, Publish: publish, Subscribe: subscribe})
		}
	}
	publish, subscribe := arbiterRights(trainers)
	return append(all, logins.Login{User: ArbiterUser, Publish: publish, Subscribe: subscribe})
}

// DirectRights are those of trainers of versions before there were arbiters, which take
// jobs and write state, metrics and adapters themselves. Whoever has such a login can end,
// requeue or spoil every job: by its own subjects, and since NATS answers a request to
// whatever subject it names, the log's among them.
func DirectRights(name string) (publish, subscribe []string) {
	publish = []string{
		"$JS.API.INFO",
		"$JS.API.STREAM.INFO." + stateStream,
		"$JS.API.DIRECT.GET." + stateStream + ".>",
		"$JS.API.STREAM.MSG.GET." + stateStream,
		"scu.state.*." + name + ".*",

		"$JS.API.STREAM.INFO." + jobsStream,
		"$JS.API.STREAM.MSG.GET." + jobsStream,
		"$JS.API.CONSUMER.LIST." + jobsStream,
		"$JS.API.CONSUMER.NAMES." + jobsStream, // of versions before owners
		"$JS.API.CONSUMER.MSG.NEXT." + jobsStream + ".>",
		"$JS.ACK." + jobsStream + ".>",
		"scu.bell.*.*",

		"$JS.API.STREAM.INFO." + slotsStream,
		"$JS.API.STREAM.MSG.DELETE." + slotsStream,
		"scu.slot.*.*",

		"scu.metrics.*." + name,

		"$JS.API.STREAM.INFO." + kvStreamPre + presenceBucket,
		"$KV." + presenceBucket + "." + name,

		"$O." + adaptersBucket + ".>",
		"$JS.API.STREAM.PURGE." + objectStreamPre + adaptersBucket,
		"$O." + checkpointsBucket + ".>",
		"$JS.API.STREAM.PURGE." + objectStreamPre + checkpointsBucket,
	}
	for _, bucket := range []string{adaptersBucket, filesBucket, checkpointsBucket} {
		s := objectStreamPre + bucket
		publish = append(publish,
			"$JS.API.STREAM.INFO."+s, "$JS.API.STREAM.MSG.GET."+s, "$JS.API.DIRECT.GET."+s+".>",
			"$JS.API.CONSUMER.CREATE."+s+".>", "$JS.API.CONSUMER.DELETE."+s+".>", "$JS.FC."+s+".>")
	}
	return publish, []string{inboxPrefix(TrainerUser(name)) + ".>", "scu.bell.>", "scu.ctl." + name + ".>"}
}
