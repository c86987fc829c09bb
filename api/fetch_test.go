package api

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

func TestPublic(t *testing.T) {
	for addr, want := range map[string]bool{
		"93.184.215.14":        true,
		"8.8.8.8":              true,
		"2606:2800:21f::1":     true,
		"127.0.0.1":            false,
		"127.255.255.254":      false,
		"0.0.0.0":              false,
		"0.1.2.3":              false,
		"10.0.0.1":             false,
		"172.16.0.1":           false,
		"172.31.255.255":       false,
		"172.32.0.1":           true,
		"192.168.1.1":          false,
		"169.254.169.254":      false,
		"100.64.0.1":           false,
		"100.100.100.200":      false,
		"168.63.129.16":        false,
		"192.0.0.192":          false,
		"198.18.0.1":           false,
		"224.0.0.1":            false,
		"239.255.255.255":      false,
		"240.0.0.1":            false,
		"255.255.255.255":      false,
		"::":                   false,
		"::1":                  false,
		"::ffff:127.0.0.1":     false,
		"::ffff:10.0.0.1":      false,
		"::ffff:8.8.8.8":       true,
		"::127.0.0.1":          false,
		"64:ff9b::7f00:1":      false,
		"64:ff9b::a9fe:a9fe":   false,
		"2002:7f00:1::":        false,
		"2001:0:1::":           false,
		"2001:db8::1":          false,
		"fc00::1":              false,
		"fd00:ec2::254":        false,
		"fe80::1":              false,
		"fe80::1%eth0":         false,
		"fec0::1":              false,
		"ff02::1":              false,
		"2600:1f18::1%enp0":    true,
		"::ffff:169.254.1.1":   false,
		"64:ff9b:1::10.0.0.1":  false,
		"2001:4860:4860::8888": true,
	} {
		if got := public(netip.MustParseAddr(addr)); got != want {
			t.Errorf("public(%s) = %v", addr, got)
		}
	}
}

// Whatever a private address is called, no connection is made to it.
func TestPrivateURLsAreNotRead(t *testing.T) {
	asked := false
	web := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer web.Close()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(web.URL, "http://"))
	must(t, err)
	s := &Server{o: Options{MaxFileBytes: 100}, fetcher: newFetcher(false)}
	for _, host := range []string{"127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "0.0.0.0", "[::]", "127.1.2.3", "10.0.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1"} {
		_, _, err := s.fetch(t.Context(), "http://"+host+":"+port+"/")
		if scu.CodeOf(err) != scu.CodeForbidden {
			t.Errorf("%s: %v", host, err)
		}
	}
	// Numbers that some resolvers take for addresses are no more than names here.
	for _, host := range []string{"2130706433", "0x7f000001", "017700000001", "127.1"} {
		if _, _, err := s.fetch(t.Context(), "http://"+host+":"+port+"/"); err == nil {
			t.Errorf("%s was read", host)
		}
	}
	if asked {
		t.Error("a private server was asked")
	}
}

// A public server that redirects to a private one, and a name that is public when
// it is looked at and private when it is dialled: the check is at the dial.
func TestRedirectsAndRebindingAreCheckedAtTheDial(t *testing.T) {
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the private server was asked") }))
	defer inner.Close()
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inner.URL, http.StatusFound)
	}))
	defer outer.Close()
	s := &Server{o: Options{MaxFileBytes: 100}, fetcher: newFetcher(false)}
	transport := s.fetcher.Transport.(*http.Transport)
	guarded := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == "public.example:80" { // stands for a server in the open Internet
			return net.Dial(network, strings.TrimPrefix(outer.URL, "http://"))
		}
		return guarded(ctx, network, address)
	}
	if _, _, err := s.fetch(t.Context(), "http://public.example/"); scu.CodeOf(err) != scu.CodeForbidden {
		t.Errorf("the redirect gave %v", err)
	}

	rebound := newFetcher(false)
	dial := rebound.Transport.(*http.Transport)
	guarded = dial.DialContext
	dial.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		return guarded(ctx, network, strings.TrimPrefix(inner.URL, "http://")) // what the second look-up said
	}
	s.fetcher = rebound
	if _, _, err := s.fetch(t.Context(), "http://public.example/"); scu.CodeOf(err) != scu.CodeForbidden {
		t.Errorf("the rebound name gave %v", err)
	}
}
