package api

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

// names has this process resolve names by a server of the test's own. What it doesn't know has
// no address.
func names(t *testing.T, of map[string][]string) {
	t.Helper()
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, from, err := server.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			reply := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, Authoritative: true, RecursionAvailable: true}, Questions: m.Questions}
			addresses, known := of[strings.TrimSuffix(q.Name.String(), ".")]
			if !known {
				reply.RCode = dnsmessage.RCodeNameError
			}
			for _, text := range addresses {
				a, head := netip.MustParseAddr(text), dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type}
				switch {
				case a.Is4() && q.Type == dnsmessage.TypeA:
					reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
				case !a.Is4() && q.Type == dnsmessage.TypeAAAA:
					reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
				}
			}
			if packed, err := reply.Pack(); err == nil {
				server.WriteTo(packed, from)
			}
		}
	}()
	old := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", server.LocalAddr().String())
	}}
	t.Cleanup(func() { net.DefaultResolver = old; server.Close(); <-done })
}

// Whatever a name says when the connection is made, it opens no private address: not one that
// is mapped into IPv6, not that of this host in any spelling, not one of several.
func TestWebhookIgnoresNamesOfPrivateAddresses(t *testing.T) {
	names(t, map[string][]string{
		"turned.example": {"127.0.0.1"}, "mapped.example": {"::ffff:127.0.0.1"}, "six.example": {"::1"},
		"unset.example": {"0.0.0.0"}, "unset-six.example": {"::"}, "several.example": {"::1", "10.0.0.1", "127.0.0.1"},
	})
	r := start(t, func(o *Options) { o.WebhookKey = []byte("k") })
	at, got := receiver(t)
	u, err := url.Parse(at)
	must(t, err)
	for _, host := range []string{"turned.example", "mapped.example", "six.example", "unset.example", "unset-six.example", "several.example"} {
		w, err := r.sdk.AddWebhook(t.Context(), client.WebhookRequest{URL: "http://" + net.JoinHostPort(host, u.Port())})
		must(t, err)
		d, err := r.sdk.TestWebhook(t.Context(), w.ID)
		must(t, err)
		if d.Delivered || d.Status != 0 || d.Error != privateWebhook.Message {
			t.Errorf("%s: %+v", host, d)
		}
		must(t, first(r.sdk.RemoveWebhook(t.Context(), w.ID)))
	}
	if len(got) > 0 {
		t.Errorf("this machine was told: %+v", <-got)
	}
}

// An address that isn't on the open Internet is refused however it is written; what other
// programs read as one, such as a number, is a name here, and has no address.
func TestWebhookRefusesSpellingsOfPrivateAddresses(t *testing.T) {
	names(t, nil)
	r := start(t, func(o *Options) { o.WebhookKey = []byte("k") })
	at, got := receiver(t)
	u, err := url.Parse(at)
	must(t, err)
	for _, host := range []string{
		"0.0.0.0", "127.9.9.9", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255",
		"[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:0:0]", "[::ffff:a9fe:a9fe]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[fe80::1]", "[fe80::1%25lo]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]",
	} {
		if _, err := r.sdk.AddWebhook(t.Context(), client.WebhookRequest{URL: "http://" + host + ":" + u.Port()}); scu.CodeOf(err) != scu.CodeForbidden {
			t.Errorf("%s: %v", host, err)
		}
	}
	for _, host := range []string{"2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.", "localhost.", "①②⑦.⓪.⓪.①"} {
		w, err := r.sdk.AddWebhook(t.Context(), client.WebhookRequest{URL: "http://" + host + ":" + u.Port()})
		if err != nil {
			continue
		}
		if d, err := r.sdk.TestWebhook(t.Context(), w.ID); err != nil || d.Delivered || d.Status != 0 || d.Error == "" {
			t.Errorf("%s: %+v, %v", host, d, err)
		}
		must(t, first(r.sdk.RemoveWebhook(t.Context(), w.ID)))
	}
	if len(got) > 0 {
		t.Errorf("this machine was told: %+v", <-got)
	}
}
