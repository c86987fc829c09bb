// Package linetest is a network line between a client and a server that a test can spoil:
// cut, slow, silent, or torn into pieces.
package linetest

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/Shopify/toxiproxy/v2/stream"
	"github.com/rs/zerolog"
)

// Line is a TCP address that leads to a server's.
type Line struct {
	proxy   *toxiproxy.Proxy
	spoiled []string // names of what Spoil added
}

// Toxic is something that spoils a line, as toxiproxy has it.
type Toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`   // latency, bandwidth, slow_close, timeout, reset_peer, slicer, limit_data
	Stream     string         `json:"stream"` // upstream is from the client to the server
	Attributes map[string]any `json:"attributes"`
}

// BothWays is a toxic for each direction.
func BothWays(kind string, attributes map[string]any) []Toxic {
	return []Toxic{Toward(kind, attributes), Back(kind, attributes)}
}

// Toward is a toxic on the way from the client to the server.
func Toward(kind string, attributes map[string]any) Toxic {
	return Toxic{kind + " toward", kind, stream.Upstream.String(), attributes}
}

// Back is a toxic on the way from the server to the client.
func Back(kind string, attributes map[string]any) Toxic {
	return Toxic{kind + " back", kind, stream.Downstream.String(), attributes}
}

// Open lays a line to a server's host:port.
func Open(server string) (*Line, error) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // some of its parts write to stderr whatever they are given
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	l := &Line{proxy: toxiproxy.NewProxy(api, server, "127.0.0.1:0", server)}
	return l, l.proxy.Start()
}

// New is Open for a test, which closes the line when it ends.
func New(t testing.TB, server string) *Line {
	t.Helper()
	l, err := Open(server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Cut)
	return l
}

// Address is where clients connect, host:port; it stays the same.
func (l *Line) Address() string { return l.proxy.Listen }

// Cut breaks every connection and refuses new ones until Mend.
func (l *Line) Cut() { l.proxy.Stop() }

// Spoil adds toxics to connections that are there and that come, until Mend.
func (l *Line) Spoil(toxics ...Toxic) error {
	for _, t := range toxics {
		b, err := json.Marshal(t)
		if err != nil {
			return err
		}
		if _, err := l.proxy.Toxics.AddToxicJson(bytes.NewReader(b)); err != nil {
			return err
		}
		l.spoiled = append(l.spoiled, t.Name)
	}
	return nil
}

// Mend makes the line whole. Connections that lost bytes are closed.
func (l *Line) Mend() error {
	for _, name := range l.spoiled {
		if err := l.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil {
			return err
		}
	}
	l.spoiled = nil
	if err := l.proxy.Start(); err != toxiproxy.ErrProxyAlreadyStarted {
		return err
	}
	return nil
}
