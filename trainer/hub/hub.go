// Package hub downloads models from the Hugging Face Hub and uploads adapters to it, over plain
// HTTP, without Python.
//
// What it promises:
//   - The cache is the one of Python's huggingface_hub: same layout, same locks. What one has
//     downloaded the other finds; both may run at once.
//   - A file appears in the cache only whole: its size is checked, and its content against the
//     hash that the Hub names it by. A dropped connection is resumed where it ended, in the same
//     call or, after a kill, in the next.
//   - Only what a model needs is fetched: configuration, tokenizer and safetensors weights. No
//     pickle, no code.
//   - The token goes to the endpoint's own origin (scheme, host and port) and nowhere else,
//     whatever redirects or upload links say; it is in no error and no log.
//   - Whatever a server answers is bounded and checked before it is used: sizes, names, hashes.
package hub

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"
)

// DefaultEndpoint is the public Hub.
const DefaultEndpoint = "https://huggingface.co"

// Client talks to one Hub on behalf of one user. Set its fields before the first call; after
// that it may be used by several goroutines. FromEnv fills it as Python's client would.
type Client struct {
	// Endpoint is the Hub's address without a slash at the end; DefaultEndpoint when empty.
	Endpoint string
	// Token is the user's access token; empty for public models.
	Token Token
	// CacheDir is the folder of the shared cache ("hub" in HF_HOME). Needed for downloads.
	CacheDir string
	// Offline allows no network call at all: only what is in the cache is found.
	Offline bool
	// HTTP makes the requests; http.DefaultClient when nil. Its redirect policy is not used.
	HTTP *http.Client
	// Progress, if set, is told of every piece of a file that was received or sent: bytes done
	// so far and in all (-1 when not known). It is never called by two goroutines at once.
	Progress func(file string, done, total int64)
	// Wait is how a retry waits; a timer when nil. Tests replace it.
	Wait func(ctx context.Context, d time.Duration) error

	stall     time.Duration // no byte in either direction for this long ends a try; defaultStall when 0
	reporting sync.Mutex    // held while Progress is called
}

// Token is an access token. It prints as "[token]", so that a Client may be logged.
type Token string

func (Token) String() string               { return "[token]" }
func (Token) GoString() string             { return "[token]" }
func (Token) MarshalText() ([]byte, error) { return []byte("[token]"), nil }

func (c *Client) endpoint() string {
	if c.Endpoint == "" {
		return DefaultEndpoint
	}
	return strings.TrimRight(c.Endpoint, "/")
}

// reporter is Progress for one file; it may be called when there is no Progress.
func (c *Client) reporter(file string) func(done, total int64) {
	return func(done, total int64) {
		if c.Progress == nil {
			return
		}
		c.reporting.Lock()
		defer c.reporting.Unlock()
		c.Progress(file, done, total)
	}
}
