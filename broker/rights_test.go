package broker

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// The logins that scu nats-auth writes for a projector and for its arbiter may do what
// they are for: the rest is denied by the server.
func TestRightsOfProjectorsAreTheLeast(t *testing.T) {
	t.Parallel()
	s := startWritten(t, "a")
	setUp(t, s)
	for user, denied := range map[string][]string{
		ProjectorUser: {
			"scu.state.x.a.completed", "scu.state.halts", "scu.jobs.cpu.p100.x", "scu.metrics.x.a", "scu.ask.a.say", "scu.ctl.a.cancel",
			"$JS.API.STREAM.PURGE.SCU_STATE", "$JS.API.STREAM.DELETE.SCU_STATE", "$JS.API.STREAM.MSG.DELETE.SCU_STATE", "$JS.API.CONSUMER.CREATE.SCU_JOBS",
			"$JS.API.CONSUMER.MSG.NEXT.SCU_JOBS.x", "$JS.API.STREAM.INFO.OBJ_SCU_FILES", "$KV.SCU_API_KEYS.x", "$O.SCU_ADAPTERS.M.x", "_INBOX_trainer-a.x",
		},
		ArbiterUser: {
			"scu.state.x.submit.cpu.p100", "scu.state.x.again.cpu.p100", "scu.state.halts", "scu.jobs.cpu.p100.x", "scu.ask.a.say", "scu.ctl.a.cancel",
			"$JS.API.STREAM.PURGE.SCU_STATE", "$JS.API.STREAM.DELETE.SCU_STATE", "$JS.API.STREAM.MSG.DELETE.SCU_STATE", "$JS.API.STREAM.UPDATE.SCU_STATE",
			"$JS.API.CONSUMER.CREATE.SCU_JOBS", "$JS.API.CONSUMER.DELETE.SCU_JOBS.x", "$JS.API.STREAM.INFO.KV_SCU_API_KEYS", "$KV.SCU_API_KEYS.x", "$KV.SCU_WEBHOOKS.x",
			"$O.SCU_FILES.M.x", "_INBOX_operator.x",
		},
	} {
		refused := make(chan error, 1)
		nc, err := nats.Connect(s.UserURL(user), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		for _, subject := range denied {
			if err := nc.Publish(subject, nil); err != nil {
				t.Fatal(err)
			}
			select {
			case <-refused:
			case <-time.After(patience):
				t.Errorf("%s may publish to %s", user, subject)
			}
		}
		for _, subject := range []string{">", "scu.state.>", "$KV.>", "_INBOX_operator.>", "_INBOX_trainer-a.>"} {
			if _, err := nc.SubscribeSync(subject); err != nil {
				t.Fatal(err)
			}
			select {
			case <-refused:
			case <-time.After(patience):
				t.Errorf("%s may hear %s", user, subject)
			}
		}
	}
}
