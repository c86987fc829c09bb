package main

import (
	"bytes"
	"sync"
	"testing"
)

// However many processes begin on a folder at once, they have one key: none finds another's half-written.
func TestWebhookKeyIsOne(t *testing.T) {
	for range 20 {
		p := &process{set: Settings{Data: t.TempDir()}}
		var keys [8][]byte
		var all sync.WaitGroup
		for i := range keys {
			all.Go(func() {
				var err error
				if keys[i], err = p.webhookKey(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for _, k := range keys {
			if len(k) != webhookKeyBytes || !bytes.Equal(k, keys[0]) {
				t.Fatalf("keys %x and %x", keys[0], k)
			}
		}
	}
}
