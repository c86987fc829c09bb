package broker

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/shannon-control/scu"
)

// What trainers and arbiters say to each other. A trainer's login may publish below
// scu.ask.<its name> and nowhere else, so a question's subject proves who asks. It may use
// no subject that a stream or the JetStream API listens on: the server answers these to
// whatever subject the question names for its answer, and a stream takes that in.
//
//	scu.ask.<login>.<verb>            to any arbiter
//	scu.ask.<login>.<verb>.<arbiter>  to the one that has what the question is about
const (
	askRoot     = "scu.ask."
	arbiters    = "arbiters" // their queue group
	askNext     = "next"     // wait for a job; an offer, or nothing for now
	askStart    = "start"    // take an offer: the attempt begins
	askRefuse   = "refuse"   // return an offer
	askLeave    = "leave"    // wait no more
	askSay      = "say"      // a word about a job
	askHold     = "hold"     // a sign of life; how the job stands
	askDone     = "done"     // a job that is over leaves the queue
	askBack     = "back"     // a job that was handed back is given to others
	askFate     = "fate"     // how a job stands
	askPresence = "presence" // the trainer is there
	askMetrics  = "metrics"  // steps
	askPut      = "put"      // begin to store an adapter
	askChunk    = "chunk"    // a part of it
	askDrop     = "drop"     // remove a stored adapter
	askFile     = "file"     // a part of a file that the trainer's job reads
	askSaved    = "saved"    // list a job's shared checkpoints
	askSave     = "save"     // begin to store one
	askFetch    = "fetch"    // begin to read one
	askMore     = "more"     // the next part of it
	askForget   = "forget"   // remove one
	askPing     = "ping"     // whether the service works
)

func askSubject(login, verb, arbiter string) string {
	s := askRoot + login + "." + verb
	if arbiter != "" {
		s += "." + arbiter
	}
	return s
}

// parseAsk returns the login that asks, by a subject of askSubject.
func parseAsk(subject string) (login string) {
	login, _, _ = strings.Cut(strings.TrimPrefix(subject, askRoot), ".")
	return login
}

// SpeaksFor reports whether a login may speak for a trainer: the one of its name, and
// those of the further GPUs of the same process, name-2 and on.
func SpeaksFor(login, trainer string) bool {
	number, further := strings.CutPrefix(trainer, login+"-")
	return scu.ValidTrainer(trainer) && (trainer == login || further && isNumber(number))
}

func isNumber(s string) bool {
	return s != "" && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}

// question is what a trainer asks. Which fields count depends on the verb.
type question struct {
	Trainer  string            `json:"trainer"`
	Job      string            `json:"job,omitempty"`
	Attempt  int               `json:"attempt,omitempty"`
	Step     int               `json:"step,omitempty"`
	Classes  []string          `json:"classes,omitempty"`
	Offer    string            `json:"offer,omitempty"`
	Ticket   *ticket           `json:"ticket,omitempty"`
	Delay    time.Duration     `json:"delay,omitempty"`
	ID       string            `json:"id,omitempty"` // of a word: the same again is not said twice
	Word     *scu.Word         `json:"word,omitempty"`
	Presence *scu.Presence     `json:"presence,omitempty"`
	Steps    []json.RawMessage `json:"steps,omitempty"` // of scu.Metrics
	File     string            `json:"file,omitempty"`
	Saved    string            `json:"saved,omitempty"` // a shared checkpoint's name
	Offset   int64             `json:"offset,omitempty"`
}

// ticket is a job's place in the queue while it is handed out: what its signs of life and
// its acknowledgement name. It is no secret, since the log says who may use it.
type ticket struct {
	Level    string `json:"level"`
	Message  uint64 `json:"message"`
	Delivery uint64 `json:"delivery"`
	Slot     *int   `json:"slot,omitempty"` // of those that the job's owner may run at once
}

// answer is what an arbiter says. With an error, Job is the job as it stands, if it is
// the trainer's.
type answer struct {
	Error     *scu.Error    `json:"error,omitempty"`
	Arbiter   string        `json:"arbiter,omitempty"`
	Offer     string        `json:"offer,omitempty"`
	Ticket    *ticket       `json:"ticket,omitempty"`
	ClaimTime time.Duration `json:"claim_time,omitempty"` // see Options.AckWait
	Job       *scu.Job      `json:"job,omitempty"`
	Upload    string        `json:"upload,omitempty"` // a transfer that has begun, either way
	Saved     []scu.Blob    `json:"saved,omitempty"`
	More      bool          `json:"more,omitempty"` // than Saved
	Size      int64         `json:"size,omitempty"`
	SHA256    string        `json:"sha256,omitempty"`
	Working   bool          `json:"working,omitempty"` // ask again: what was asked for is being fetched
}

// Headers of questions and answers whose body is a part of a file.
const (
	headerSize   = "Scu-Size"   // of the whole file
	headerUpload = "Scu-Upload" // which transfer
	headerPart   = "Scu-Part"   // its number, from 0
	headerEnd    = "Scu-End"    // there is no further part
)

// partSize is what one message carries of a file, at most: also a slow line takes a
// part within stallTimeout.
const partSize = 64 << 10

// partsInFlight is how many parts of a file are under way at once.
const partsInFlight = 32

// told reads an answer.
func told(m *nats.Msg) (a answer, err error) {
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return a, scu.Errorf(scu.CodeInternal, "an arbiter's answer: %w", err)
	}
	if a.Error != nil {
		return a, a.Error
	}
	return a, nil
}
