package broker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

const (
	keysTTL = 24 * time.Hour
	// keysBytes has room for some 70,000 keys; more than that in a day are refused;
	// a submission without a key still gets through.
	keysBytes = 16 << 20
)

// Reserve binds a key to a submission; see [scu.SubmissionKeys].
func (b *Broker) Reserve(ctx context.Context, key string, s scu.KeyedSubmission) (scu.KeyedSubmission, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return s, scu.Errorf(scu.CodeInternal, "encode key: %w", err)
	}
	err = b.bucket(ctx, keysBucket, func(ctx context.Context, kv jetstream.KeyValue) error {
		_, err := kv.Create(ctx, keyToken(key), data)
		return err
	})
	if errors.Is(err, jetstream.ErrKeyExists) {
		return b.Reserved(ctx, key)
	}
	return s, fault(err, "keep the key of a submission")
}

// Reserved returns what a key is bound to; see [scu.SubmissionKeys].
func (b *Broker) Reserved(ctx context.Context, key string) (s scu.KeyedSubmission, err error) {
	var e jetstream.KeyValueEntry
	err = b.bucket(ctx, keysBucket, func(ctx context.Context, kv jetstream.KeyValue) (err error) {
		e, err = entryOf(ctx, kv, keyToken(key), scu.Errorf(scu.CodeNotFound, "the key is new"))
		return err
	})
	if err != nil {
		return s, fault(err, "look for the key of a submission")
	}
	if err := json.Unmarshal(e.Value(), &s); err != nil || !scu.ValidJobID(s.JobID) {
		return s, scu.Errorf(scu.CodeInternal, "the entry of a submission's key can't be read")
	}
	return s, nil
}

// keyToken encodes a client's key, whatever it contains, as part of a subject.
func keyToken(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}
