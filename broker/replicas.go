package broker

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// clusterReplicas are the copies of each stream in a cluster if nothing is set: one of
// three servers may fail.
const clusterReplicas = 3

// wanted is how many replicas a new stream gets.
func (b *Broker) wanted() int {
	switch {
	case b.opts.Replicas > 0:
		return b.opts.Replicas
	case b.nc.ConnectedClusterName() != "":
		return clusterReplicas
	}
	return 1
}

// replicas is how many a stream gets: what is wanted, or what it has, if that is more.
func (b *Broker) replicas(old *jetstream.StreamInfo) int {
	wanted := b.wanted()
	if old == nil || old.Config.Replicas <= wanted {
		return wanted
	}
	if b.opts.Replicas > 0 {
		b.log.Info("a stream keeps its replicas, which are more than the setting", "stream", old.Config.Name, "replicas", old.Config.Replicas, "setting", wanted)
	}
	return old.Config.Replicas
}

// setupFault is the error of a stream that can't be set up. A cluster that was to keep
// its default may have too few servers up now; a setting that it can't keep is wrong.
func (b *Broker) setupFault(err error, what string) error {
	if c := codeOf(err); (c == codeNotClustered || c == codeNoPeers) && !lacksStorage(err) {
		code := scu.CodeInvalid
		if b.opts.Replicas == 0 {
			code = scu.CodeUnavailable
		}
		return scu.Errorf(code, "%s: NATS can't keep %d replicas: %w", what, b.wanted(), err).
			WithHint("replicas need a cluster of at least as many servers that are up; start them, or set --replicas (SCU_REPLICAS) to what it has")
	}
	return fault(err, "set up %s", what)
}

// Codes of a server or cluster that can't have the replicas asked for.
const (
	codeNotClustered jetstream.ErrorCode = 10074
	codeNoPeers      jetstream.ErrorCode = 10005
)

// Copies returns how many servers keep the log and how many of them have all of it now.
func (b *Broker) Copies(ctx context.Context) (scu.Copies, error) {
	info, err := b.existing(ctx, stateStream)
	switch {
	case err != nil:
		return scu.Copies{}, fault(err, "ask for the log's copies")
	case info == nil:
		return scu.Copies{}, scu.Errorf(scu.CodeUnavailable, "stream %s is gone", stateStream)
	}
	c := scu.Copies{Kept: info.Config.Replicas}
	if info.Cluster == nil {
		c.Current = 1
		return c, nil
	}
	if info.Cluster.Leader != "" {
		c.Current = 1
	}
	for _, p := range info.Cluster.Replicas {
		if p.Current && !p.Offline {
			c.Current++
		}
	}
	return c, nil
}
