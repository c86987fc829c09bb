package main

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/shannon-control/scu"
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
	key := make([]byte, webhookKeyBytes)
	rand.Read(key)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		if _, err = f.Write(key); err == nil {
			err = f.Sync()
		}
		return key, errors.Join(err, f.Close())
	}
	if !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	key, err = os.ReadFile(path)
	if err == nil && len(key) < webhookKeyBytes {
		err = scu.Errorf(scu.CodeStorage, "%s is damaged: it has %d bytes", path, len(key)).WithHint("remove it: a new one is made, and webhooks get new secrets")
	}
	return key, err
}
