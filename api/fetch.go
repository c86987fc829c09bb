package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/shannon-control/scu"
)

// Bounds of a download.
const (
	maxRedirects = 5
	dialTime     = 10 * time.Second
	answerTime   = 30 * time.Second // until the response's headers
	fetchTime    = 10 * time.Minute // in all
)

// newFetcher returns the client that reads data URLs. Unless private addresses
// are allowed, every connection is checked at the moment it is made, on the
// address that it is made to: so neither a name that resolves to a private
// address, nor one that does so only the second time, nor a redirect gets there.
func newFetcher(allowPrivate bool) *http.Client {
	dialer := &net.Dialer{Timeout: dialTime}
	if !allowPrivate {
		dialer.Control = func(network, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || !public(ap.Addr()) {
				return errPrivate
			}
			return nil
		}
	}
	return &http.Client{
		Timeout: fetchTime,
		Transport: &http.Transport{
			Proxy:                  nil, // a proxy would resolve the name out of our sight
			DialContext:            dialer.DialContext,
			TLSHandshakeTimeout:    dialTime,
			ResponseHeaderTimeout:  answerTime,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
			DisableKeepAlives:      true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return scu.Errorf(scu.CodeInvalid, "the URL redirects more than %d times", maxRedirects)
			}
			return checkURL(r.URL)
		},
	}
}

var errPrivate = scu.Errorf(scu.CodeForbidden, "the URL points to a private address").
	WithHint("upload the file with POST /files, or set SCU_ALLOW_PRIVATE_URLS on the server")

// special are the ranges of the IANA special-purpose registries (RFC 6890) that
// netip's own predicates don't name, and those in which another address hides.
var special = func() []netip.Prefix {
	var list []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/8",        // this network
		"100.64.0.0/10",    // carrier-grade NAT; a cloud's metadata at 100.100.100.200
		"168.63.129.16/32", // Azure's metadata
		"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
		"240.0.0.0/4",                    // reserved, broadcast
		"::/96",                          // IPv4-compatible
		"64:ff9b::/96", "64:ff9b:1::/48", // NAT64
		"100::/64", "2001::/23", "2001:db8::/32",
		"2002::/16", // 6to4
		"3fff::/20", "5f00::/16", "fec0::/10",
	} {
		list = append(list, netip.MustParsePrefix(p))
	}
	return list
}()

// public reports whether an address is on the open Internet.
func public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

func checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return scu.Errorf(scu.CodeInvalid, "%.20q addresses can't be read", u.Scheme).WithHint("use http or https")
	case u.Hostname() == "":
		return scu.Errorf(scu.CodeInvalid, "the URL has no host")
	case u.User != nil:
		return scu.Errorf(scu.CodeInvalid, "the URL contains a password, which would be stored")
	}
	return nil
}

// fetch opens what a URL names. The body is as long as it says or fails; the
// caller bounds it and closes it.
func (s *Server) fetch(ctx context.Context, named string) (body io.ReadCloser, name string, err error) {
	u, err := url.Parse(named)
	if err != nil {
		return nil, "", scu.Errorf(scu.CodeInvalid, "not a valid URL")
	}
	if err := checkURL(u); err != nil {
		if u.User != nil {
			err = scu.AsError(err).WithHint("upload the file with POST /files")
		}
		return nil, "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, "", scu.Errorf(scu.CodeInvalid, "not a valid URL")
	}
	req.Header.Set("User-Agent", "scu/"+s.o.Version)
	resp, err := s.fetcher.Do(req)
	if err != nil {
		return nil, "", unfetched(err)
	}
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		err = scu.Errorf(scu.CodeUnavailable, "the URL answers %s", resp.Status)
	case resp.StatusCode != http.StatusOK:
		err = scu.Errorf(scu.CodeInvalid, "the URL answers %s", resp.Status).WithHint("it must be readable without a login")
	case resp.ContentLength > s.o.MaxFileBytes:
		err = scu.Errorf(scu.CodeTooLarge, "%d bytes, more than the %d allowed", resp.ContentLength, s.o.MaxFileBytes).WithHint("split the file")
	}
	if err != nil {
		resp.Body.Close()
		return nil, "", err
	}
	return remote{resp.Body}, nameOf(resp.Request.URL.Path), nil
}

// remote puts what goes wrong in mid-download into the service's words.
type remote struct{ io.ReadCloser }

func (r remote) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = unfetched(err)
	}
	return n, err
}

// unfetched explains the failure without revealing the address.
func unfetched(err error) error {
	var e *scu.Error
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &dns) && dns.IsNotFound:
		return scu.Errorf(scu.CodeInvalid, "the URL's host %.200q can't be resolved", dns.Name)
	case errors.As(err, &timeout) && timeout.Timeout():
		return scu.Errorf(scu.CodeUnavailable, "the URL took too long to answer")
	case errors.Is(err, syscall.ECONNREFUSED):
		return scu.Errorf(scu.CodeUnavailable, "the URL's host refused the connection")
	}
	return &scu.Error{Code: scu.CodeUnavailable, Message: "the URL can't be read", Hint: "try again, or upload the file with POST /files",
		Retry: true, Err: fmt.Errorf("fetch: %w", err)}
}
