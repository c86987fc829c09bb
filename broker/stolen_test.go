package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/files"
)

// Whoever has stolen the login of trainer b and speaks plain NATS does nothing to the job
// that trainer a runs: docs/operations.md has the table. So it is with the embedded server,
// and with a nats-server that reads what scu nats-auth writes, whether the API answers
// trainers or a projector.
func TestStolenLogin(t *testing.T) {
	t.Parallel()
	t.Run("embedded server", func(t *testing.T) {
		t.Parallel()
		s := startServer(t, t.TempDir(), "127.0.0.1:0")
		api, store := arbitrated(t, s, 10*time.Second)
		steal(t, s, api, store)
	})
	t.Run("configuration file", func(t *testing.T) {
		t.Parallel()
		s := startWritten(t, "a", "b")
		api, store := arbitrated(t, s, 10*time.Second)
		steal(t, s, api, store)
	})
	t.Run("arbiter of a projector", func(t *testing.T) {
		t.Parallel()
		s := startWritten(t, "a", "b")
		api, uploads := arbitratedApart(t, s, 10*time.Second)
		steal(t, s, api, uploads)
	})
}

func steal(t *testing.T, s serverOfUsers, api *Broker, store *files.Store) {
	ctx := testContext(t)
	file, err := store.Put(ctx, "secret", bytes.NewReader(randomBytes(1000)), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	a := newAgent(t, s, "a")
	e := newJob(0)
	e.Job.TrainData = file
	if _, err := api.Submit(ctx, e); err != nil {
		t.Fatal(err)
	}
	c, j := take(t, a, waitFor(t, a))
	held, release := c.Hold(ctx, j.Attempt)
	defer release()
	key := scu.AdapterKey{Job: j.ID, Attempt: j.Attempt}
	if _, _, err := a.PutAdapter(ctx, key, bytes.NewReader([]byte("zip"))); err != nil {
		t.Fatal(err)
	}
	checkpoint := scu.BlobKey{Kind: scu.CheckpointBlob, Name: j.ID + ".run.1.safetensors"}
	if _, err := a.Checkpoints().Put(ctx, checkpoint, strings.NewReader("checkpoint"), scu.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	before, seq, err := api.Job(ctx, j.ID)
	if err != nil {
		t.Fatal(err)
	}
	ticket := c.(*heldClaim).ticket
	thief, err := nats.Connect(s.UserURL(TrainerUser("b")), nats.CustomInboxPrefix(inboxPrefix(TrainerUser("b"))), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()

	// What NATS itself has to refuse, also with an answer that goes into the log.
	state := "scu.state." + j.ID + "."
	for _, subject := range []string{
		state + "b.completed", state + "a.completed", state + "api.cancelled", state + "submit.cpu.p100", state + "again.cpu.p100", haltsSubject, probeSubject,
		ackSubject(ticket.Level, ticket.Message, ticket.Delivery, time.Now()), "$JS.API.CONSUMER.MSG.NEXT." + jobsStream + "." + ticket.Level,
		"$JS.API.CONSUMER.DELETE." + jobsStream + "." + ticket.Level, "$JS.API.CONSUMER.PAUSE." + jobsStream + "." + ticket.Level, "$JS.API.CONSUMER.CREATE." + stateStream,
		"$JS.API.STREAM.PURGE." + stateStream, "$JS.API.STREAM.DELETE." + jobsStream, "$JS.API.STREAM.MSG.DELETE." + stateStream, "$JS.API.STREAM.PURGE.OBJ_" + adaptersBucket,
		"$JS.API.STREAM.MSG.GET." + stateStream, "$JS.API.DIRECT.GET." + stateStream + "." + state + "a.started", "$JS.API.INFO",
		"$O." + adaptersBucket + ".M.x", "$O." + checkpointsBucket + ".M.x", "$JS.API.STREAM.PURGE.OBJ_" + checkpointsBucket, "$O." + filesBucket + ".M.x", "$KV." + presenceBucket + ".a", "$KV." + presenceBucket + ".b", "$KV." + keysBucket + ".x",
		metricsSubject(j.ID, "a"), metricsSubject(j.ID, "b"), cancelSubject("a"), askSubject("a", askSay, ""), "scu.jobs.cpu.p100." + j.ID, "scu.bell.cpu.p100", "_INBOX_trainer-a.x",
	} {
		for _, reply := range []string{"", state + "api.failed", cancelSubject("a")} {
			if err := thief.PublishMsg(&nats.Msg{Subject: subject, Reply: reply, Data: []byte("-NAK")}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, subject := range []string{">", "scu.>", "scu.ctl.a.>", "_INBOX_trainer-a.>", "_INBOX.>", "_INBOX_operator.>", "scu.metrics.>", "scu.ask.>", "$KV.>", "$O.>", "scu.state.>", "scu.bell.>"} {
		sub, err := thief.SubscribeSync(subject)
		if err != nil {
			continue
		}
		thief.Flush()
		if _, err := sub.NextMsg(10 * time.Millisecond); err == nil {
			t.Errorf("%s can be heard", subject)
		}
	}

	// What arbiters have to refuse.
	ask := func(verb string, q question) error {
		t.Helper()
		data, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		if err := thief.PublishRequest(askSubject("b", verb, ""), state+"api.failed", data); err != nil { // an answer into the log
			t.Fatal(err)
		}
		m, err := thief.Request(askSubject("b", verb, ""), data, patience)
		if err != nil {
			t.Fatalf("%s: %v", verb, err)
		}
		_, err = told(m)
		return err
	}
	step, err := json.Marshal(step(j.ID, j.Attempt, 99))
	if err != nil {
		t.Fatal(err)
	}
	own := question{Trainer: "b", Job: j.ID, Attempt: j.Attempt, Ticket: ticket, ID: "x"}
	with := func(change func(*question)) question {
		q := own
		change(&q)
		return q
	}
	words := []scu.Word{
		{Type: scu.EventStarted}, {Type: scu.EventCompleted, Attempt: 1, Adapter: &scu.Adapter{}}, {Type: scu.EventFailed, Attempt: 1, Error: &scu.Error{}},
		{Type: scu.EventHandedBack, Attempt: 1}, {Type: scu.EventPhase, Attempt: 1, Phase: scu.Training}, {Type: scu.EventCheckpoint, Attempt: 1, Checkpoint: &scu.Checkpoint{}},
		{Type: scu.EventCancelled, Attempt: 1}, {Type: scu.EventDeleted, Attempt: 1},
	}
	for _, w := range words {
		if ask(askSay, with(func(q *question) { q.Word = &w })) == nil {
			t.Errorf("%s is written of another's job", w.Type)
		}
		if ask(askSay, with(func(q *question) { q.Word, q.Trainer = &w, "a" })) == nil {
			t.Errorf("%s is written in another's name", w.Type)
		}
	}
	for verb, q := range map[string]question{
		askHold: own, askDone: own, askBack: own, askPut: own, askDrop: own,
		askFile:     with(func(q *question) { q.File = file.ID }),
		askMetrics:  with(func(q *question) { q.Steps = []json.RawMessage{step} }),
		askPresence: with(func(q *question) { q.Presence = &scu.Presence{Trainer: "a"} }),
		askNext:     with(func(q *question) { q.Trainer = "a" }),
		askSaved:    own,
		askSave:     with(func(q *question) { q.Saved = checkpoint.Name }),
		askFetch:    with(func(q *question) { q.Saved = checkpoint.Name }),
		askForget:   with(func(q *question) { q.Saved = checkpoint.Name }),
	} {
		if ask(verb, q) == nil {
			t.Errorf("%s is granted", verb)
		}
	}
	thief.Flush()

	after, now, err := api.Job(ctx, j.ID)
	if err != nil || now != seq || after.Status != before.Status || after.Trainer != "a" {
		t.Fatalf("the job has become %+v at %d, was at %d: %v", after, now, seq, err)
	}
	if held.Err() != nil {
		t.Fatal(context.Cause(held))
	}
	if _, err := api.LastMetrics(ctx, j.ID); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("metrics that nobody measured: %v", err)
	}
	if h, err := api.Halted(ctx); err != nil || h.Queue {
		t.Error(h, err)
	}
	if _, err := a.Say(ctx, j.ID, "a", scu.Word{Type: scu.EventCompleted, Attempt: 1, Adapter: &scu.Adapter{}}); err != nil {
		t.Error(err)
	}
	if err := c.Ack(); err != nil || queued(t, api) != 0 {
		t.Error(err)
	}
	r, size, err := api.GetAdapter(ctx, key)
	if err != nil || size != 3 {
		t.Fatal(size, err)
	}
	r.Close()
	if b, err := scu.VerifyBlob(ctx, api.Objects(), checkpoint); err != nil || b.Size != 10 {
		t.Error(b, err)
	}

	// Nor does a job of the thief's own lend it another's checkpoints.
	mine := submit(t, api, 0)
	b := newAgent(t, s, "b")
	_, run := take(t, b, waitFor(t, b))
	for _, verb := range []string{askSave, askFetch, askForget} {
		if err := ask(verb, question{Trainer: "b", Job: mine, Attempt: run.Attempt, Saved: checkpoint.Name}); scu.CodeOf(err) != scu.CodeForbidden {
			t.Errorf("%s of another job's checkpoint: %v", verb, err)
		}
	}
}
