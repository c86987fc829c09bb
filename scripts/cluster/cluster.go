//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
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

	"github.com/shannon-control/scu/broker/linetest"
	"github.com/shannon-control/scu/porttest"
	"github.com/shannon-control/scu/store/postgres/postgrestest"
)

// options say what a cluster is made of.
type options struct {
	files []string // compose.yaml, and what is laid over it
	dir   string   // holds everything
	scu   string   // the program
	nats  string   // nats-server; "" builds it
	lines bool     // between services are lines that can be spoiled

	env  func(service string) []string // more settings of its process, or postgres's
	args func(service string) []string // more arguments of its process

	// disk, if set, puts a disk of its own where a service, or postgres, keeps its data.
	disk func(service, dir string) error
}

// cluster is the services of a compose file as processes.
type cluster struct {
	options
	project *types.Project
	addrs   map[string]string // what listens, as host:port of compose.yaml: here
	dbURL   string

	processes []*process // in the order in which they were started
	postgres  *postgrestest.Server
	ways      map[way]*linetest.Line
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
func start(ctx context.Context, o options) (*cluster, error) {
	c := &cluster{options: o, addrs: map[string]string{}, ways: map[way]*linetest.Line{}, failed: make(chan error, 1)}
	if err := c.start(ctx); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context) error {
	p, err := cli.NewProjectOptions(c.files, cli.WithoutEnvironmentResolution)
	if err != nil {
		return err
	}
	if c.project, err = p.LoadProject(ctx); err != nil { // checks it against the specification's schema
		return err
	}
	if err := c.assign(); err != nil {
		return err
	}
	if err := c.tools(ctx); err != nil {
		return err
	}
	if err := c.startPostgres(); err != nil {
		return err
	}
	if c.dbURL, err = c.postgres.Create(); err != nil {
		return err
	}
	if err := c.makeSecrets(ctx); err != nil {
		return err
	}
	if err := c.project.ForEachService(nil, c.startService); err != nil {
		return err
	}
	return c.ready(ctx)
}

// named are the services whose name is what, or begins so, before a number.
func (c *cluster) named(what string) (names []string) {
	for name := range c.project.Services {
		if name == what || strings.HasPrefix(name, what+"-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Ports of compose.yaml.
const (
	natsPort     = ":4222"
	routePort    = ":6222" // NATS servers among themselves
	apiPort      = ":8000"
	postgresPort = ":5432"
)

// assign gives everything that listens an address.
func (c *cluster) assign() error {
	hosts := []string{"postgres" + postgresPort}
	for _, name := range c.named("nats") {
		hosts = append(hosts, name+natsPort, name+routePort)
	}
	for _, name := range c.named("api") {
		hosts = append(hosts, name+apiPort)
	}
	for _, host := range hosts {
		l, err := porttest.Cluster.Listen()
		if err != nil {
			return err
		}
		defer l.Close() // once each has its own
		c.addrs[host] = l.Addr().String()
	}
	return nil
}

// apiURL is the address of an API.
func (c *cluster) apiURL(name string) string { return "http://" + c.addrs[name+apiPort] }

func (c *cluster) startPostgres() (err error) {
	at := postgrestest.Place{Address: c.addrs["postgres"+postgresPort]}
	if c.env != nil {
		at.Env = c.env("postgres")
	}
	if c.disk != nil {
		if at.Dir, err = os.MkdirTemp("", "scu-cluster-"); err != nil { // where its own user comes, too
			return err
		}
		if err := c.disk("postgres", at.Dir); err != nil {
			return err
		}
	}
	c.postgres, err = postgrestest.Run(at)
	return err
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

// outside is who isn't a service: it reaches all of them directly.
const outside = "outside"

// secret is the file of a secret for programs outside.
func (c *cluster) secret(name string) string { return c.secretOf(outside, name) }

func (c *cluster) secretOf(service, name string) string {
	return filepath.Join(c.dir, service, "secrets", name)
}

// makeSecrets makes them as a user does, then puts the database's URL in place, whose
// server is another's. Each service gets a copy with the addresses that it uses.
func (c *cluster) makeSecrets(ctx context.Context) error {
	var trainers []string
	for _, name := range c.named("trainer") {
		trainers = append(trainers, strings.TrimPrefix(name, "trainer-"))
	}
	dir := filepath.Join(c.dir, "secrets")
	script := filepath.Join(filepath.Dir(c.files[0]), "scripts", "secrets.sh")
	cmd := exec.CommandContext(ctx, script, trainers...)
	cmd.Env = append(os.Environ(), "SCU="+c.scu, "SECRETS="+dir, "NATS="+strings.Join(c.named("nats"), natsPort+",")+natsPort)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", script, err, out)
	}
	db, err := url.Parse(c.dbURL)
	if err != nil {
		return err
	}
	db.Host = "postgres" + postgresPort
	if err := os.WriteFile(filepath.Join(dir, "db-url"), []byte(db.String()+"\n"), 0o600); err != nil {
		return err
	}
	made, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, service := range append(c.project.ServiceNames(), outside) {
		hosts, err := c.hosts(service)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(c.secretOf(service, ""), 0o700); err != nil {
			return err
		}
		for _, f := range made {
			b, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err != nil {
				return err
			}
			if err := os.WriteFile(c.secretOf(service, f.Name()), []byte(hosts.Replace(string(b))), 0o600); err != nil {
				return err
			}
		}
	}
	return nil
}

// way is from a service to another.
type way struct{ from, to string }

// hosts replaces what compose.yaml calls the others by what a service reaches them at: a
// line of its own, if there are lines.
func (c *cluster) hosts(service string) (*strings.Replacer, error) {
	var pairs []string
	for host, address := range c.addrs {
		to, _, _ := strings.Cut(host, ":")
		among := strings.HasPrefix(service, "nats") && strings.HasPrefix(to, "nats")
		if c.lines && service != outside && to != service && among == strings.HasSuffix(host, routePort) {
			w := way{service, to}
			if l := c.ways[w]; l == nil {
				l, err := linetest.Open(address)
				if err != nil {
					return nil, err
				}
				c.ways[w] = l
			}
			address = c.ways[w].Address()
		}
		pairs = append(pairs, host, address)
	}
	return strings.NewReplacer(pairs...), nil
}

// startService starts one service; PostgreSQL runs already.
func (c *cluster) startService(name string, s *types.ServiceConfig) error {
	if name == "postgres" {
		return nil
	}
	data := filepath.Join(c.dir, name, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	if c.disk != nil {
		if err := c.disk(name, data); err != nil {
			return err
		}
	}
	if slices.Contains(c.named("nats"), name) {
		return c.startNATS(name, s)
	}
	args, err := c.translate(name, s.Command)
	if err != nil {
		return err
	}
	cmd := exec.Command(c.scu, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(c.dir, name), "SCU_DATA=" + data}
	for key, value := range s.Environment {
		if value == nil {
			continue
		}
		v, err := c.translate(name, []string{*value})
		if err != nil {
			return err
		}
		if key == "SCU_LISTEN" {
			v[0] = c.addrs[name+apiPort]
		}
		cmd.Env = append(cmd.Env, key+"="+v[0])
	}
	return c.startProcess(name, cmd)
}

func (c *cluster) startNATS(name string, s *types.ServiceConfig) error {
	args, err := c.translate(name, s.Command)
	if err != nil {
		return err
	}
	monitor := slices.Index(args, "--http_port")
	if monitor < 0 {
		return errors.New("compose.yaml: nats has no --http_port for its health check")
	}
	args = slices.Delete(args, monitor, monitor+2) // the port may be taken here; the process's end says enough
	_, port, err := net.SplitHostPort(c.addrs[name+natsPort])
	if err != nil {
		return err
	}
	args = append(args, "--addr", "127.0.0.1", "--port", port)
	if c.lines { // who learnt the servers' own addresses would go past the lines
		args = append(args, "--no_advertise", "--cluster_advertise", "127.0.0.1:1")
	}
	cmd := exec.Command(c.nats, args...)
	cmd.Env = os.Environ()
	return c.startProcess(name, cmd)
}

// translate turns paths and addresses of a container into those of the cluster.
func (c *cluster) translate(service string, words []string) ([]string, error) {
	paths := []string{"/data", filepath.Join(c.dir, service, "data"), "0.0.0.0" + routePort, c.addrs[service+routePort]}
	for name, s := range c.project.Secrets {
		paths = append(paths, "/run/secrets/"+name, c.secretOf(service, filepath.Base(s.File)))
	}
	hosts, err := c.hosts(service)
	if err != nil {
		return nil, err
	}
	here := strings.NewReplacer(paths...)
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = hosts.Replace(here.Replace(w))
	}
	return out, nil
}

func (c *cluster) startProcess(name string, cmd *exec.Cmd) error {
	if c.env != nil {
		cmd.Env = append(cmd.Env, c.env(name)...)
	}
	if c.args != nil {
		cmd.Args = append(cmd.Args, c.args(name)...)
	}
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

// ready waits until every API reports that the service is healthy.
func (c *cluster) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for _, api := range c.named("api") {
		for !c.healthy(ctx, api) {
			select {
			case err := <-c.failed:
				return fmt.Errorf("%w; its log is in %s", err, c.dir)
			case <-ctx.Done():
				b, _ := os.ReadFile(filepath.Join(c.dir, api, "log"))
				return fmt.Errorf("%s isn't healthy; its log ends\n%s", api, b[max(0, len(b)-2000):])
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
	return nil
}

// healthy asks an API.
func (c *cluster) healthy(ctx context.Context, api string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.apiURL(api)+"/health", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.StatusCode == http.StatusOK
}

// stop ends every process, those that depend on others first.
func (c *cluster) stop() {
	var wait sync.WaitGroup
	for _, p := range c.processes {
		if strings.HasPrefix(p.name, "nats") {
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
	for _, l := range c.ways {
		l.Cut()
	}
}
