//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
	"github.com/shannon-control/scu/porttest"
)

var soakTime = flag.Duration("soak.time", 0, "how long TestSoak uses the service and makes faults; 0: not at all")

// sampleEvery is the least time between two samples.
const sampleEvery = 10 * time.Second

// lasting are the faults that our processes live through, so that what they leak stays with them.
var lasting = slices.DeleteFunc(slices.Clone(faults), func(f fault) bool {
	return regexp.MustCompile(`^kill (API|projector|trainer)|^poison`).MatchString(f.name)
})

// soak is a service that is used at random, and what its processes hold.
type soak struct {
	*chaos
	pages map[string]string // service: where its profiles are

	began    time.Time
	last     time.Time // of a sample
	accepted int
	ended    int
	all      map[string]*series
}

// Whatever clients and faults do for an hour, what a process holds stays as it was:
// goroutines, the heap, open files, the streams. Jobs are deleted some time after their end.
func TestSoak(t *testing.T) {
	if *soakTime == 0 {
		t.Skip("make soak does")
	}
	s := &soak{pages: map[string]string{}, all: map[string]*series{}}
	page := func(service string) string {
		if s.pages[service] == "" {
			l, err := porttest.Cluster.Listen()
			check(t, err)
			check(t, l.Close())
			s.pages[service] = "http://" + l.Addr().String()
		}
		return strings.TrimPrefix(s.pages[service], "http://")
	}
	s.chaos = newChaos(t, func(service string) []string {
		switch kindOf(service) {
		case "trainer", "projector":
			return []string{"SCU_METRICS_LISTEN=" + page(service)}
		}
		return nil
	}, func(service string) []string {
		if kindOf(service) != "nats" {
			return nil
		}
		_, port, _ := strings.Cut(page(service), ":")
		return []string{"--profile", port}
	})
	for _, api := range s.named("api") {
		s.pages[api] = s.apiURL(api)
	}
	s.chaos.calm = s.sample
	s.began = time.Now()
	ctx, stop := context.WithTimeout(t.Context(), *soakTime)
	defer stop()
	var clients sync.WaitGroup
	for n := range 4 {
		clients.Go(func() { s.visit(ctx, n) })
	}
	s.disturb(ctx, lasting)
	clients.Wait()

	var all []series
	for _, one := range s.all {
		all = append(all, *one)
	}
	table, wrong := report(all)
	t.Logf("seed %d, %v, %d jobs accepted, %d seen to end\n%s", *chaosSeed, time.Since(s.began).Round(time.Second), s.accepted, s.ended, table)
	for _, w := range wrong {
		t.Error(w)
	}
	if s.accepted == 0 || s.ended == 0 {
		t.Errorf("%d jobs accepted, %d ended", s.accepted, s.ended)
	}
	if t.Failed() {
		s.keepLogs()
	}
}

// keep is how many jobs a client leaves behind it.
const keep = 5

// visit is one client: it does at random what clients do, and deletes its old jobs.
func (s *soak) visit(ctx context.Context, n int) {
	rng := rand.New(rand.NewPCG(*chaosSeed, uint64(n)+1000))
	dir := s.t.TempDir()
	var own []string
	for i := 0; ctx.Err() == nil; i++ {
		id := s.submit(ctx, s.data, rng.IntN(kinds), 0, fmt.Sprintf("visitor-%d-%d", n, i))
		if id == "" {
			continue
		}
		own = append(own, id)
		s.mu.Lock()
		s.accepted++
		s.mu.Unlock()
		for range 6 {
			try, done := context.WithTimeout(ctx, 20*time.Second)
			s.visitOne(try, rng, own[rng.IntN(len(own))], dir)
			done()
		}
		s.until(context.WithoutCancel(ctx), "the end of job "+id, func(ctx context.Context) error {
			j, err := s.api().Status(ctx, id)
			if err == nil && !j.Status.Ended() {
				err = fmt.Errorf("it is %s", j.Status)
			}
			return err
		})
		s.mu.Lock()
		s.ended++
		s.mu.Unlock()
		if len(own) > keep {
			s.until(context.WithoutCancel(ctx), "delete job "+own[0], func(ctx context.Context) error {
				_, err := s.api().DeleteJob(ctx, own[0])
				if scu.CodeOf(err) == scu.CodeNotFound {
					return nil
				}
				return err
			})
			own = own[1:]
		}
	}
}

// visitOne does one thing; it may fail while there is a fault.
func (s *soak) visitOne(ctx context.Context, rng *rand.Rand, id, dir string) {
	api := s.api()
	switch rng.IntN(10) {
	case 0:
		if rng.IntN(3) == 0 {
			api.Cancel(ctx, id)
		}
	case 1:
		api.Jobs(ctx, client.JobsFilter{Limit: 20})
	case 2:
		api.Metrics(ctx, id, 0, 100)
	case 3:
		api.History(ctx, id)
	case 4: // to its end, or until the time is over
		api.Watch(ctx, id, 0, func(client.Event) error { return nil })
	case 5: // goes away in the middle
		n := 1 + rng.IntN(5)
		api.Watch(ctx, id, 0, func(client.Event) error {
			if n--; n == 0 {
				return errEnough
			}
			return nil
		})
	case 6:
		if path, err := api.DownloadAdapter(ctx, id, dir, nil); err == nil {
			os.Remove(path)
		}
	case 7:
		text := fmt.Sprintf("Visitor %d came at %d and stayed for a while.\n", rng.Uint32(), rng.Uint32())
		if f, err := api.Upload(ctx, "visit.txt", strings.NewReader(strings.Repeat(text, 100)), int64(len(text)*100), nil); err == nil {
			api.DeleteFile(ctx, f.ID)
		}
	case 8:
		api.Health(ctx)
	default:
		api.Status(ctx, id)
	}
}

// sample looks at every process and stream.
func (s *soak) sample() {
	if time.Since(s.last) < sampleEvery {
		return
	}
	s.last = time.Now()
	for _, p := range s.processes {
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		if err == nil {
			s.note(p.name+" open files", "files", 12, float64(len(files)))
		}
		goroutines, heap, err := s.measure(p.name)
		if err != nil {
			s.t.Logf("%s: %v", p.name, err)
			continue
		}
		most := 3.0
		if kindOf(p.name) == "nats" {
			most = natsBuffers
		}
		s.note(p.name+" goroutines", "goroutines", 25, goroutines)
		s.note(p.name+" heap", "MB", most, heap)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	s.mu.Lock()
	jobs := s.accepted
	s.mu.Unlock()
	for info := range s.js.ListStreams(ctx).Info() {
		s.noteStream(info, jobs)
	}
}

// kept for ever, or for a day, are the log and the keys of submissions: there a job costs
// the same, however many there were.
var kept = map[string]bool{log: true, "KV_SCU_KEYS": true}

func (s *soak) noteStream(info *jetstream.StreamInfo, jobs int) {
	name, bytes := info.Config.Name, float64(info.State.Bytes)
	if !kept[name] {
		s.note(name, "kB", 2000, bytes/1000)
		s.note(name+" consumers", "", 6, float64(info.State.Consumers))
		return
	}
	if jobs > 20 {
		s.note(name+" a job", "kB", 0, bytes/1000/float64(jobs))
	}
}

// note adds a sample; most is what may be added beside a tenth.
func (s *soak) note(name, unit string, most, value float64) {
	one := s.all[name]
	if one == nil {
		one = &series{name: name, unit: unit, most: most}
		s.all[name] = one
	}
	one.samples = append(one.samples, sample{time.Since(s.began), value})
}

// natsBuffers are three blocks of NATS's files, in MB: it holds one for each file that was written
// or read within ten seconds. The memory of its process says less: the buffers that it lets go lie
// in pools and wait for a collection, of which there are few, so that it takes up to four times
// what is in use.
const natsBuffers = 3 * 8.4

var (
	heapAlloc = regexp.MustCompile(`^# HeapAlloc = (\d+)`)
	routines  = regexp.MustCompile(`^goroutine profile: total (\d+)`)
)

// measure asks a process for its goroutines and for its heap in MB, after as many collections as
// empty its pools.
func (s *soak) measure(name string) (count, heap float64, err error) {
	page := s.pages[name] + "/debug/pprof/"
	count, err = s.find(page+"goroutine?debug=1", routines)
	for range 3 {
		if err == nil {
			heap, err = s.find(page+"heap?gc=1&debug=1", heapAlloc)
		}
	}
	return count, heap / 1e6, err
}

// find reads the number that pattern finds in a line of a page.
func (s *soak) find(page string, pattern *regexp.Regexp) (float64, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key())
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	for {
		line, err := lines.ReadString('\n')
		if m := pattern.FindStringSubmatch(line); m != nil {
			io.Copy(io.Discard, lines)
			return strconv.ParseFloat(m[1], 64)
		}
		if err != nil {
			return 0, errors.Join(fmt.Errorf("%s: %s has no %v", resp.Status, filepath.Base(page), pattern), err)
		}
	}
}
