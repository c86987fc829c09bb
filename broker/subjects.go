package broker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/shannon-control/scu"
)

// Every subject of the service is made and read here.
//
//	scu.state.<job>.submit.<class>.<rung>  a submission; the queue is sourced from it
//	scu.state.<job>.submit.<time>          one that is queued later, at so many seconds of Unix time
//	scu.state.<job>.again.<class>.<rung>   a job that is queued again: resumed, due or retried
//	scu.state.<job>.<who>.<event type>     any other entry; who is a trainer's name or "api"
//	scu.jobs.<class>.<rung>.<job>          the queue, a level for each class and rung
//	scu.bell.<class>.<rung>                a job of that level has come; not stored
//	scu.slot.<lane>.<n>                    one of the jobs that an owner may run at once runs
//	scu.metrics.<job>.<trainer>            one optimiser step
//	scu.ctl.<trainer>.cancel               to the trainer: that job is cancelled; not stored
//
// A rung is p<NNN>, the priority, and of an owner's jobs p<NNN>_<lane>.
//
// A trainer may write only where its own name stands.
const (
	whoSubmit = "submit" // stands where others have who; no trainer may be called so
	whoAgain  = "again"  // likewise, with the token that others don't have
)

// level is one rung of the queue: its jobs are handed out in the order they came.
type level struct {
	class    string
	priority int    // scu.MinPriority to scu.MaxPriority
	lane     string // the owner's; "" of jobs that have none
}

// levelOf is the level that a job waits in.
func levelOf(j scu.Job) level { return level{j.Class, j.Priority, laneOf(j.Owner)} }

// laneLength is that of a lane's name.
const laneLength = 12

// laneOf names the lane of an owner's jobs: a digest, since an owner's name may have any
// characters. Two owners of one digest would share a lane.
func laneOf(owner string) string {
	if owner == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(owner))
	return hex.EncodeToString(sum[:])[:laneLength]
}

// rung is the priority's token, zero-padded so that it sorts (-100 is p000, 0 is p100,
// 100 is p200), with the lane. It is one token, so that what sources the queue and rings
// its bell needn't know of lanes.
func (l level) rung() string {
	token := fmt.Sprintf("p%03d", l.priority-scu.MinPriority)
	if l.lane != "" {
		token += "_" + l.lane
	}
	return token
}

func (l level) durable() string      { return l.class + "-" + l.rung() }
func (l level) filter() string       { return l.job("*") }
func (l level) bell() string         { return "scu.bell." + l.class + "." + l.rung() }
func (l level) job(id string) string { return "scu.jobs." + l.class + "." + l.rung() + "." + id }

// parseLevel reads a class and a rung.
func parseLevel(class, rung string) (level, bool) {
	token, lane, hasLane := strings.Cut(rung, "_")
	if !scu.ValidClass(class) || len(token) != 4 || token[0] != 'p' || hasLane && !validLane(lane) {
		return level{}, false
	}
	n := 0
	for _, c := range token[1:] {
		if c < '0' || c > '9' {
			return level{}, false
		}
		n = n*10 + int(c-'0')
	}
	n += scu.MinPriority
	return level{class, n, lane}, n <= scu.MaxPriority
}

func validLane(lane string) bool {
	return len(lane) == laneLength && strings.Trim(lane, "0123456789abcdef") == ""
}

// parseDurable reads the name of a level's consumer.
func parseDurable(name string) (level, bool) {
	i := strings.LastIndexByte(name, '-')
	if i < 0 {
		return level{}, false
	}
	return parseLevel(name[:i], name[i+1:])
}

// parseBell reads a doorbell's subject.
func parseBell(subject string) (level, bool) {
	t := strings.Split(subject, ".")
	if len(t) != 4 || t[0] != "scu" || t[1] != "bell" {
		return level{}, false
	}
	return parseLevel(t[2], t[3])
}

// parseJob reads the subject of a queued job.
func parseJob(subject string) (l level, id string, ok bool) {
	t := strings.Split(subject, ".")
	if len(t) != 5 || t[0] != "scu" || t[1] != "jobs" || !scu.ValidJobID(t[4]) {
		return level{}, "", false
	}
	l, ok = parseLevel(t[2], t[3])
	return l, t[4], ok
}

func stateSubject(id, who string, t scu.EventType) string {
	return "scu.state." + id + "." + who + "." + string(t)
}

// stateGuard matches every entry of a job: the subject that compare-and-set
// guards, the same one for every writer.
func stateGuard(id string) string { return "scu.state." + id + ".>" }

func submitSubject(id string, l level) string {
	return "scu.state." + id + "." + whoSubmit + "." + l.class + "." + l.rung()
}

// laterSubject is the subject of a submission that is queued at a time.
func laterSubject(id string, at time.Time) string {
	return "scu.state." + id + "." + whoSubmit + "." + strconv.FormatInt(at.Unix(), 10)
}

func againSubject(id string, l level) string {
	return "scu.state." + id + "." + whoAgain + "." + l.class + "." + l.rung()
}

// submissionOf matches a job's first entry.
func submissionOf(id string) string { return "scu.state." + id + "." + whoSubmit + ".>" }

func slotSubject(lane string, n int) string    { return "scu.slot." + lane + "." + strconv.Itoa(n) }
func metricsSubject(id, trainer string) string { return "scu.metrics." + id + "." + trainer }
func cancelSubject(trainer string) string      { return "scu.ctl." + trainer + ".cancel" }

// jobOf is the job of an entry of the log or the metrics, by its subject.
func jobOf(subject string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(subject, "scu."), ".")
	job, _, _ := strings.Cut(rest, ".")
	return job
}
