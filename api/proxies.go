package api

import (
	"net"
	"net/netip"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// ParseProxies reads the addresses of proxies: networks (10.0.0.0/8) or single ones.
func ParseProxies(list []string) (all []netip.Prefix, err error) {
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if a, e := netip.ParseAddr(text); e == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			return nil, scu.Errorf(scu.CodeInvalid, "%.60q is no network of proxies", text).WithHint("as 10.0.0.0/8, fd00::/8 or 192.0.2.7")
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// proxies are trusted to say in X-Forwarded-For for whom they ask.
type proxies []netip.Prefix

// has reports whether an address, with its port, is a proxy's.
func (p proxies) has(peer string) bool {
	at, err := netip.ParseAddrPort(peer)
	if err != nil {
		return false
	}
	address := at.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(p, func(network netip.Prefix) bool { return network.Contains(address) })
}

// who is the way to tell the address of whoever asks.
func (p proxies) who() echo.IPExtractor {
	if len(p) == 0 {
		return echo.ExtractIPDirect() // no header says who asks
	}
	trust := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, network := range p {
		trust = append(trust, echo.TrustIPRange(&net.IPNet{IP: network.Addr().AsSlice(), Mask: net.CIDRMask(network.Bits(), network.Addr().BitLen())}))
	}
	return echo.ExtractIPFromXFFHeader(trust...)
}

// share bounds the requests of one address that a proxy asks for, as its connections are
// bounded if there is none between.
func (s *Server) share(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if peer := c.Request().RemoteAddr; !s.proxies.has(peer) {
			if c.Request().Header.Get(echo.HeaderXForwardedFor) != "" {
				s.untrusted.Do(func() {
					s.log.Warn("requests come through a proxy that isn't trusted: its clients count as one address; name its network with --trusted-proxies", "proxy", peer)
				})
			}
			return next(c)
		}
		leave := s.asked.take(c.RealIP(), maxEach)
		if leave == nil {
			c.Response().Header().Set("Retry-After", "5")
			refuseWith(c.Response(), c.Request(), scu.Errorf(scu.CodeUnavailable, "too many requests from your address are open").WithHint("close some"))
			return nil
		}
		defer leave()
		return next(c)
	}
}
