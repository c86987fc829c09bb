//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shannon-control/scu/store/postgres/postgrestest"
)

// options say what a cluster is made of.
type options struct {
	file string   // compose.yaml
	dir  string   // holds everything
	scu  string   // the program
	nats string   // nats-server; "" builds it
	env  []string // more settings for every role
}

// cluster is the services of a compose file as processes.
type cluster struct {
	options
	project  *types.Project
	natsAddr string // host:port, in place of nats:4222
	apiURL   string
	dbURL    string

	processes []*process // in the order in which they were started
	postgres  *postgrestest.Server
	failed    chan error // of a process that ended by itself
}

// process is one service.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it ended
}

// start starts every service, each after those that it depends on, and returns when the
// API answers.
func start(ctx context.Context, o options) (c *cluster, err error) {
	c = &cluster{options: o, failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			c.stop()
		}
	}()
	p, err := cli.NewProjectOptions([]string{o.file}, cli.WithoutEnvironmentResolution)
	if err != nil {
		return nil, err
	}
	if c.project, err = p.LoadProject(ctx); err != nil { // checks it against the specification's schema
		return nil, err
	}
	if c.natsAddr, err = freeAddress(); err != nil {
		return nil, err
	}
	api, err := freeAddress()
	if err != nil {
		return nil, err
	}
	c.apiURL = "http://" + api
	if err := c.tools(ctx); err != nil {
		return nil, err
	}
	if c.postgres, err = postgrestest.Run(); err != nil {
		return nil, err
	}
	if c.dbURL, err = c.postgres.Create(); err != nil {
		return nil, err
	}
	if err := c.makeSecrets(ctx); err != nil {
		return nil, err
	}
	err = c.project.ForEachService(nil, func(name string, s *types.ServiceConfig) error {
		return c.startService(name, s, api)
	})
	if err != nil {
		return nil, err
	}
	return c, c.ready(ctx)
}

// tools finds the programs, or makes them.
func (c *cluster) tools(ctx context.Context) (err error) {
	if c.scu, err = filepath.Abs(c.scu); err != nil {
		return err
	}
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return err
	}
	if c.nats != "" {
		return nil
	}
	c.nats = filepath.Join(c.dir, "nats-server")
	build := exec.CommandContext(ctx, "go", "build", "-o", c.nats, "github.com/nats-io/nats-server/v2")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return nil
}

func (c *cluster) secret(name string) string { return filepath.Join(c.dir, "secrets", name) }

// makeSecrets makes them as a user does, then puts the database's URL in place, whose
// server is another's.
func (c *cluster) makeSecrets(ctx context.Context) error {
	var trainers []string
	for name := range c.project.Services {
		if strings.HasPrefix(name, "trainer-") {
			trainers = append(trainers, strings.TrimPrefix(name, "trainer-"))
		}
	}
	slices.Sort(trainers)
	script := filepath.Join(filepath.Dir(c.file), "scripts", "secrets.sh")
	cmd := exec.CommandContext(ctx, script, trainers...)
	cmd.Env = append(os.Environ(), "SCU="+c.scu, "SECRETS="+filepath.Join(c.dir, "secrets"), "NATS="+c.natsAddr)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	return os.WriteFile(c.secret("db-url"), []byte(c.dbURL+"\n"), 0o600)
}

// startService starts one service; PostgreSQL runs already.
func (c *cluster) startService(name string, s *types.ServiceConfig, api string) error {
	switch name {
	case "postgres":
		return nil
	case "nats":
		args := c.translate(name, s.Command)
		_, port, err := net.SplitHostPort(c.natsAddr)
		if err != nil {
			return err
		}
		monitor := slices.Index(args, "--http_port")
		if monitor < 0 {
			return errors.New("compose.yaml: nats has no --http_port for its health check")
		}
		args = slices.Delete(args, monitor, monitor+2) // the port may be taken here; the process's end says enough
		return c.startProcess(name, exec.Command(c.nats, append(args, "--addr", "127.0.0.1", "--port", port)...))
	}
	cmd := exec.Command(c.scu, c.translate(name, s.Command)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(c.dir, name), "SCU_DATA=" + filepath.Join(c.dir, name, "data")}
	for key, value := range s.Environment {
		if value == nil {
			continue
		}
		v := c.translate(name, []string{*value})[0]
		if key == "SCU_LISTEN" {
			v = api
		}
		cmd.Env = append(cmd.Env, key+"="+v)
	}
	cmd.Env = append(cmd.Env, c.env...)
	return c.startProcess(name, cmd)
}

// translate turns paths of a container into paths of the cluster.
func (c *cluster) translate(service string, words []string) []string {
	paths := []string{"/data", filepath.Join(c.dir, service, "data")}
	for name, s := range c.project.Secrets {
		paths = append(paths, "/run/secrets/"+name, c.secret(filepath.Base(s.File)))
	}
	r := strings.NewReplacer(paths...)
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = r.Replace(w)
	}
	return out
}

func (c *cluster) startProcess(name string, cmd *exec.Cmd) error {
	if err := os.MkdirAll(filepath.Join(c.dir, name), 0o700); err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(c.dir, name, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Dir, cmd.Stdout, cmd.Stderr = filepath.Join(c.dir, name), log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{name, cmd, make(chan struct{})}
	c.processes = append(c.processes, p)
	go func() {
		err := cmd.Wait()
		close(p.done)
		select {
		case c.failed <- fmt.Errorf("%s ended: %v", name, err):
		default:
		}
	}()
	return nil
}

// ready waits until the API reports that the service is healthy.
func (c *cluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, "GET", c.apiURL+"/health", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-c.failed:
			return fmt.Errorf("%w; its log is in %s", err, c.dir)
		case <-ctx.Done():
			return fmt.Errorf("the API isn't healthy: %v; logs are in %s", err, c.dir)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends every process, those that depend on others first.
func (c *cluster) stop() {
	var wait sync.WaitGroup
	for _, p := range c.processes {
		if p.name == "nats" {
			continue
		}
		p.cmd.Process.Signal(syscall.SIGTERM) // fails if it ended already
		wait.Go(func() { <-p.done })
	}
	wait.Wait()
	for _, p := range c.processes {
		p.cmd.Process.Signal(syscall.SIGTERM)
		<-p.done
	}
	if c.postgres != nil {
		c.postgres.Remove()
	}
}

// freeAddress is a loopback address that nothing listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
