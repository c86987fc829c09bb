package main

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/atomicfile"
)

// webhookKeyFile holds what the secrets of webhooks are derived from, in the data folder.
const webhookKeyFile = "webhook.key"

// webhookKeyBytes is how long the key is at least.
const webhookKeyBytes = 32

// webhookKey is the key that is set; otherwise it reads the one in the data folder, or
// makes it.
func (p *process) webhookKey() ([]byte, error) {
	if p.set.WebhookKey != "" {
		return []byte(p.set.WebhookKey), nil
	}
	path := filepath.Join(p.set.Data, webhookKeyFile)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, webhookKeyBytes)
		rand.Read(key)
		if err = atomicfile.Create(path, 0o600, key); errors.Is(err, fs.ErrExist) { // another process was faster
			key, err = os.ReadFile(path)
		}
	}
	if err == nil && len(key) < webhookKeyBytes {
		err = scu.Errorf(scu.CodeStorage, "%s is damaged: it has %d bytes", path, len(key)).WithHint("remove it: a new one is made, and webhooks get new secrets")
	}
	return key, err
}
