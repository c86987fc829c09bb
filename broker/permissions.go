package broker

import "github.com/nats-io/nats-server/v2/server"

// Users of the embedded server. A cluster's operator gives the same permissions
// to users of their own (see Permissions).
const (
	OperatorUser  = "operator" // api and projector: everything
	ReaderUser    = "reader"   // live metrics, nothing else
	trainerPrefix = "trainer-"
)

// TrainerUser is the NATS user of the trainer called name.
func TrainerUser(name string) string { return trainerPrefix + name }

// Permissions returns what the trainer called name may do: take jobs, write state
// and metrics under its own name, read files, store adapters. It can't write
// under another's name; that it could acknowledge another's job is made harmless
// by the compare-and-set log. That it could remove or replace another's adapter
// isn't prevented, but seen: the log has its sha256. Whoever has a trainer's login is
// trusted with the results of all jobs.
func Permissions(name string) *server.Permissions {
	publish := []string{
		"$JS.API.INFO",
		"$JS.API.STREAM.INFO." + stateStream, // also how often a job was handed back
		"$JS.API.DIRECT.GET." + stateStream + ".>",
		"$JS.API.STREAM.MSG.GET." + stateStream,
		"scu.state.*." + name + ".*",

		"$JS.API.STREAM.INFO." + jobsStream,
		"$JS.API.CONSUMER.NAMES." + jobsStream,
		"$JS.API.CONSUMER.MSG.NEXT." + jobsStream + ".>",
		"$JS.ACK." + jobsStream + ".>",
		"scu.bell.*.*",

		"scu.metrics.*." + name,

		"$JS.API.STREAM.INFO." + kvStreamPre + presenceBucket,
		"$KV." + presenceBucket + "." + name,

		"$O." + adaptersBucket + ".>",
		"$JS.API.STREAM.PURGE." + objectStreamPre + adaptersBucket,
	}
	for _, bucket := range []string{adaptersBucket, filesBucket} {
		s := objectStreamPre + bucket
		publish = append(publish,
			"$JS.API.STREAM.INFO."+s, "$JS.API.STREAM.MSG.GET."+s, "$JS.API.DIRECT.GET."+s+".>",
			"$JS.API.CONSUMER.CREATE."+s+".>", "$JS.API.CONSUMER.DELETE."+s+".>", "$JS.FC."+s+".>")
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: publish},
		Subscribe: &server.SubjectPermission{Allow: []string{inboxPrefix(TrainerUser(name)) + ".>", "scu.bell.>", "scu.ctl." + name + ".>"}},
	}
}

// readerPermissions let live metrics be watched.
func readerPermissions() *server.Permissions {
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Deny: []string{">"}},
		Subscribe: &server.SubjectPermission{Allow: []string{"scu.metrics.>"}},
	}
}
