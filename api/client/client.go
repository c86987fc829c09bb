package client

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/shannon-control/scu"
)

// maxAnswer bounds an answer that is read whole; a full page of metrics has about
// 5 MB.
const maxAnswer = 64 << 20

// Client talks to one server. It is safe for concurrent use.
type Client struct {
	base  string
	shown string // base without a password, for people
	key   string
	http  *http.Client
}

// New makes a client of the server at address, as "http://localhost:8000"; a bare
// host:port is taken as http. key is the API key, "" if the server has none.
func New(address, key string) (*Client, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, scu.Errorf(scu.CodeInvalid, "invalid server address %q", address).WithHint("use the form http://localhost:8000")
	}
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	return &Client{
		base: strings.TrimSuffix(u.String(), "/"), shown: strings.TrimSuffix(u.Redacted(), "/"),
		key: key,
		// No time for whole requests: uploads, downloads and events last. A server
		// that answers nothing is the context's to give up on.
		http: &http.Client{
			Transport: &http.Transport{
				Proxy:                 http.ProxyFromEnvironment,
				DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
				TLSHandshakeTimeout:   10 * time.Second,
				ExpectContinueTimeout: 5 * time.Second,
				IdleConnTimeout:       idleTime,
				MaxIdleConnsPerHost:   idleConns,
			},
			// The key goes to the server it is for and to no other.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// idleConns is how many connections are kept for the next calls: of Go's default, two, as many
// callers as ask side by side would each connect anew. They are kept for idleTime, as a server
// bounds those of an address, idle ones too.
const (
	idleConns = 32
	idleTime  = 5 * time.Second
)

// CheckKey refuses an API key that no header can carry.
func CheckKey(key string) error {
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return scu.Errorf(scu.CodeInvalid, "the API key contains a space, a line break or a non-ASCII character").WithHint("check SCU_API_KEY")
	}
	return nil
}

// Submit asks for a job. Data is named by an upload's id, a path on the server or
// a URL; Upload sends a local file first.
func (c *Client) Submit(ctx context.Context, r SubmitRequest) (SubmitResponse, error) {
	return post[SubmitResponse](ctx, c, "/jobs/submit", r, r.IdempotencyKey)
}

// CheckData says what would become of a data file; that a job on it would be
// refused is part of the answer.
func (c *Client) CheckData(ctx context.Context, r DataCheckRequest) (scu.DataCheck, error) {
	return post[scu.DataCheck](ctx, c, "/data/check", r, "")
}

// Estimate returns what a job would take on the server's machine.
func (c *Client) Estimate(ctx context.Context, r EstimateRequest) (scu.Estimate, error) {
	return post[scu.Estimate](ctx, c, "/estimate", r, "")
}

// Validate answers with everything that is to be said of a job before it is submitted.
func (c *Client) Validate(ctx context.Context, r SubmitRequest) (scu.Report, error) {
	return post[scu.Report](ctx, c, "/jobs/validate", r, "")
}

// Recommend chooses the settings of a job by its model and data.
func (c *Client) Recommend(ctx context.Context, r RecommendRequest) (scu.Recommendation, error) {
	return post[scu.Recommendation](ctx, c, "/recommend", r, "")
}

// Status says where a job stands.
func (c *Client) Status(ctx context.Context, id string) (JobStatus, error) {
	return call[JobStatus](ctx, c, http.MethodGet, jobPath(id, "/status"))
}

// Job gives everything known of a job.
func (c *Client) Job(ctx context.Context, id string) (JobDetail, error) {
	return call[JobDetail](ctx, c, http.MethodGet, jobPath(id, ""))
}

// Trainers lists the live trainers, by name.
func (c *Client) Trainers(ctx context.Context) (TrainerList, error) {
	return call[TrainerList](ctx, c, http.MethodGet, "/trainers")
}

// JobsFilter chooses what Jobs lists; its zero value is the newest 50 of any status.
type JobsFilter struct {
	Status    scu.Status
	Owner     string   // only this owner's
	Search    string   // only those whose name or base model contains it, or whose id begins with it
	GivenUp   bool     // only those that were given up after all their attempts
	ErrorCode scu.Code // only those that failed with it
	Limit     int      // at most 1000
	After     string   // the last job id of the page before
}

// Jobs lists jobs, the newest first.
func (c *Client) Jobs(ctx context.Context, f JobsFilter) (JobList, error) {
	q := url.Values{}
	if f.Status != "" {
		q.Set("status", string(f.Status))
	}
	if f.Owner != "" {
		q.Set("owner", f.Owner)
	}
	if f.Search != "" {
		q.Set("search", f.Search)
	}
	if f.GivenUp {
		q.Set("given_up", "true")
	}
	if f.ErrorCode != "" {
		q.Set("error_code", string(f.ErrorCode))
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	if f.After != "" {
		q.Set("after", f.After)
	}
	return call[JobList](ctx, c, http.MethodGet, "/jobs?"+q.Encode())
}

// Cancel ends a job. A job that was cancelled before is no error; one that ended
// otherwise is scu.CodeConflict.
func (c *Client) Cancel(ctx context.Context, id string) (CancelResponse, error) {
	return call[CancelResponse](ctx, c, http.MethodPost, jobPath(id, "/cancel"))
}

// Stop asks a running job to end now and to keep what it has learned. A job that was
// asked before is no error; one that doesn't run is scu.CodeConflict.
func (c *Client) Stop(ctx context.Context, id string) (CancelResponse, error) {
	return call[CancelResponse](ctx, c, http.MethodPost, jobPath(id, "/stop"))
}

// Checkpoints lists the adapters that a job kept at validations.
func (c *Client) Checkpoints(ctx context.Context, id string) (CheckpointList, error) {
	return call[CheckpointList](ctx, c, http.MethodGet, jobPath(id, "/checkpoints"))
}

// History lists what a job went through, from its submission on.
func (c *Client) History(ctx context.Context, id string) (History, error) {
	return call[History](ctx, c, http.MethodGet, jobPath(id, "/history"))
}

// Counts counts the jobs of each status.
func (c *Client) Counts(ctx context.Context) (map[scu.Status]int, error) {
	return call[map[scu.Status]int](ctx, c, http.MethodGet, "/jobs/counts")
}

// DeleteJob removes a job that has ended, with its metrics, adapter and checkpoints; one
// that hasn't is scu.CodeConflict.
func (c *Client) DeleteJob(ctx context.Context, id string) (DeleteResponse, error) {
	return call[DeleteResponse](ctx, c, http.MethodDelete, jobPath(id, ""))
}

// Files lists the files that the server keeps, in the order of their ids: those after
// an id ("": from the first), at most limit (0: 100).
func (c *Client) Files(ctx context.Context, after string, limit int) (FileList, error) {
	q := url.Values{}
	if after != "" {
		q.Set("after", after)
	}
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return call[FileList](ctx, c, http.MethodGet, "/files?"+q.Encode())
}

// DeleteFile removes a file; one that a queued or running job needs is scu.CodeConflict.
func (c *Client) DeleteFile(ctx context.Context, id string) (DeleteResponse, error) {
	return call[DeleteResponse](ctx, c, http.MethodDelete, "/files/"+url.PathEscape(id))
}

// Metrics gives a page of a job's steps: those above after (0: from the first),
// at most limit (0: 1000).
func (c *Client) Metrics(ctx context.Context, id string, after, limit int) (MetricsPage, error) {
	q := url.Values{"after": {strconv.Itoa(after)}}
	if limit != 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return call[MetricsPage](ctx, c, http.MethodGet, jobPath(id, "/metrics?"+q.Encode()))
}

// ThinnedMetrics gives at most n of all of a job's steps, for a chart: no stretch of the run
// loses its least and greatest values.
func (c *Client) ThinnedMetrics(ctx context.Context, id string, n int) (MetricsPage, error) {
	return call[MetricsPage](ctx, c, http.MethodGet, jobPath(id, "/metrics?resolution="+strconv.Itoa(n)))
}

// Curves gives what a chart draws of a job, over at most n of all its steps (0: 1200).
func (c *Client) Curves(ctx context.Context, id string, n int) (Curves, error) {
	path := "/curves"
	if n != 0 {
		path += "?resolution=" + strconv.Itoa(n)
	}
	return call[Curves](ctx, c, http.MethodGet, jobPath(id, path))
}

// MetricsCSV writes a job's steps so far to w, as the server's CSV table.
func (c *Client) MetricsCSV(ctx context.Context, id string, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, jobPath(id, "/metrics.csv"), nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return refused(resp)
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return c.unreachable(ctx, err)
	}
	return nil
}

// Health reports whether the service works. An unhealthy service is not an error.
func (c *Client) Health(ctx context.Context) (Health, error) {
	var out Health
	resp, err := c.do(ctx, http.MethodGet, "/health", nil, nil)
	if err != nil {
		return out, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusServiceUnavailable {
		return out, refused(resp)
	}
	if err := decode(resp, &out); err != nil {
		return out, err
	}
	if out.Status == "" {
		return out, notOurs(resp)
	}
	return out, nil
}

func jobPath(id, rest string) string { return "/jobs/" + url.PathEscape(id) + rest }

// String is the server's address, for people: without a password.
func (c *Client) String() string { return c.shown }
