package broker

import (
	"bytes"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/shannon-control/scu"
)

// pausing reads data, and calls at with the number of bytes that were read before each read.
type pausing struct {
	*bytes.Reader
	at func(read int64)
}

func (p pausing) Read(b []byte) (int, error) {
	p.at(p.Size() - int64(p.Len()))
	return p.Reader.Read(b[:min(len(b), chunkSize)])
}

// A chunk that nobody takes for a moment, as while a cluster's stream elects its leader, is
// sent again by NATS's client, after chunks that came later. Such an object isn't what was
// to be stored: storing it fails, it isn't kept, and may be tried again.
func TestChunksOutOfOrder(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx := testContext(t)
	s, err := b.js.Stream(ctx, objectStreamPre+adaptersBucket)
	if err != nil {
		t.Fatal(err)
	}
	whole := s.CachedInfo().Config
	deaf := whole
	deaf.Subjects = slices.DeleteFunc(slices.Clone(whole.Subjects), func(s string) bool { return s == "$O."+adaptersBucket+".C.>" })
	set := func(c jetstream.StreamConfig) {
		if _, err := b.js.UpdateStream(ctx, c); err != nil {
			t.Error(err)
		}
	}
	data := randomBytes(6 * chunkSize)
	key := scu.BlobKey{Kind: scu.AdapterBlob, Name: newJob(0).Job.ID + ".1"}
	_, err = b.Objects().Put(ctx, key, pausing{bytes.NewReader(data), func(read int64) {
		switch read {
		case 2 * chunkSize: // the next chunk is sent to nobody
			b.bulk.Flush()
			set(deaf)
		case 4 * chunkSize:
			b.bulk.Flush()
			set(whole)
		}
	}}, scu.PutOptions{})
	if scu.CodeOf(err) != scu.CodeUnavailable {
		t.Errorf("stored out of order: %v", err)
	}
	if _, err := b.Objects().Stat(ctx, key); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("it is kept: %v", err)
	}
	if _, err := b.Objects().Put(ctx, key, bytes.NewReader(data), scu.PutOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := scu.VerifyBlob(ctx, b.Objects(), key); err != nil {
		t.Error(err)
	}
}
