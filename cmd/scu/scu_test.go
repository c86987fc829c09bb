package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/shannon-control/scu/broker"
	"github.com/shannon-control/scu/broker/embedded"
	"github.com/shannon-control/scu/store/postgres/postgrestest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"scu": main})
}

// TestScripts runs the transcripts in testdata. Besides testscript's own commands
// they have MODEL, the folder of a model, and:
//
//	start ROLE ARG...     runs scu ROLE in the background until it says that it is ready,
//	                      and sets SCU_API_URL, and ADDRESS to its host:port, where it has an API
//	end ROLE SIGNAL       sends TERM or KILL to it and waits for its end; TERM must end it well
//	exits CODE ARG...     runs scu, which must end with this exit code
//	job                   sets JOB to the job_id that the last command printed as JSON
//	steps JOB             waits until the job has trained a step, with a scu watch that Ctrl-C ends
//	unanswered PATH BODY  sends a POST whose answer nobody reads, and waits until the server
//	                      asks everybody for a key
//	nats                  starts a NATS server of the test's own, and sets SCU_NATS_URL, and
//	                      TRAINER_A and TRAINER_B to the URLs of two trainers' logins
func TestScripts(t *testing.T) { runScripts(t, "testdata") }

// TestPostgres runs those whose read model is in PostgreSQL.
func TestPostgres(t *testing.T) {
	runScripts(t, "testdata/postgres", variable("db-url")+"="+postgrestest.Start(t).NewDatabase(t))
}

func runScripts(t *testing.T, dir string, env ...string) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Values[processes{}] = map[string]*exec.Cmd{}
			model, err := filepath.Abs("../../models/bookworm-2m")
			if err != nil {
				return err
			}
			scripts, err := filepath.Abs("../../scripts")
			e.Vars = append(append(e.Vars, "MODEL="+model, "SCRIPTS="+scripts, quickEnd), env...)
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": start, "end": end, "exits": exitsWith, "job": job, "steps": steps, "nats": nats, "unanswered": unanswered,
		},
	})
}

// quickEnd keeps programs that are built with -race from sleeping for a second at
// their end, in which the jobs of a script would go on.
const quickEnd = "GORACE=atexit_sleep_ms=0"

// processes is the key of a script's running processes, by role.
type processes struct{}

func running(ts *testscript.TestScript) map[string]*exec.Cmd {
	return ts.Value(processes{}).(map[string]*exec.Cmd)
}

// command makes a scu command in the script's folder and environment.
func command(ts *testscript.TestScript, args ...string) *exec.Cmd {
	c := exec.Command("scu", args...)
	c.Dir = ts.MkAbs(".")
	c.Env = []string{quickEnd, "PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "TMPDIR=" + ts.Getenv("TMPDIR")}
	for _, s := range settings {
		c.Env = append(c.Env, variable(s.name)+"="+ts.Getenv(variable(s.name)))
	}
	for _, name := range secrets {
		c.Env = append(c.Env, secretVariable(name)+"="+ts.Getenv(secretVariable(name)))
	}
	return c
}

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: start ROLE ARG...")
	}
	c := command(ts, append(args, "--json")...)
	log, err := os.Create(ts.MkAbs(args[0] + ".log"))
	ts.Check(err)
	defer log.Close()
	c.Stderr = log
	out, err := c.StdoutPipe()
	ts.Check(err)
	ts.Check(c.Start())
	ts.Defer(func() {
		c.Process.Kill() // fails where it has ended
		c.Wait()
	})
	var said struct {
		APIURL string `json:"api_url"`
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &said)
	}
	if err != nil {
		c.Wait()
		ts.Fatalf("scu %s did not get ready: %v\n%s", args[0], err, ts.ReadFile(args[0]+".log"))
	}
	if said.APIURL != "" {
		ts.Setenv(variable("api-url"), said.APIURL)
		ts.Setenv("ADDRESS", strings.TrimPrefix(said.APIURL, "http://"))
	}
	running(ts)[args[0]] = c
}

func end(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]os.Signal{"TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}
	if neg || len(args) != 2 || running(ts)[args[0]] == nil || signals[args[1]] == nil {
		ts.Fatalf("usage: end ROLE TERM|KILL, of a role that runs")
	}
	c := running(ts)[args[0]]
	delete(running(ts), args[0])
	ts.Check(c.Process.Signal(signals[args[1]]))
	if err := c.Wait(); err != nil && args[1] == "TERM" {
		ts.Fatalf("scu %s: %v\n%s", args[0], err, ts.ReadFile(args[0]+".log"))
	}
}

func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec("scu", args[1:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func job(ts *testscript.TestScript, _ bool, _ []string) {
	var said struct {
		ID string `json:"job_id"`
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &said))
	ts.Setenv("JOB", said.ID)
}

func steps(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: steps JOB")
	}
	c := command(ts, "watch", args[0], "--json")
	out, err := c.StdoutPipe()
	ts.Check(err)
	ts.Check(c.Start())
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), `{"metrics"`) {
	}
	c.Process.Signal(os.Interrupt) // fails where the job, and so the command, has ended
	io.Copy(io.Discard, out)
	c.Wait()
	if code := c.ProcessState.ExitCode(); code != exitInterrupted {
		ts.Fatalf("scu watch %s, interrupted after a step: exit code %d, want %d", args[0], code, exitInterrupted)
	}
}

func nats(ts *testscript.TestScript, _ bool, _ []string) {
	s, err := embedded.Start(embedded.Config{Rights: broker.Rights, Dir: filepath.Join(ts.MkAbs("."), "nats"), Listen: "127.0.0.1:0"})
	ts.Check(err)
	ts.Defer(s.Close)
	ts.Setenv(variable("nats-url"), s.UserURL(broker.OperatorUser))
	ts.Setenv("TRAINER_A", s.UserURL(broker.TrainerUser("a")))
	ts.Setenv("TRAINER_B", s.UserURL(broker.TrainerUser("b")))
}
