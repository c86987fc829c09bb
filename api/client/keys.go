package client

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/shannon-control/scu"
)

// KeyRequest asks for an API key.
type KeyRequest struct {
	Name      string     `json:"name" minLength:"1" maxLength:"100" doc:"What it is for, for people"`
	Owner     string     `json:"owner,omitempty" maxLength:"64" doc:"Whose jobs, files, comparisons and webhooks it is for: a person, a team or a program. Only a key of scope admin may have none"`
	Scope     scu.Scope  `json:"scope" enum:"read,submit,admin" doc:"read looks at what the owner has, submit makes and changes it too, admin does everything and sees everybody's"`
	ExpiresAt *time.Time `json:"expires_at,omitempty" format:"date-time" nullable:"true" doc:"When it stops to count; default never"`
	Limits    scu.Limits `json:"limits,omitempty" doc:"The owner's limits instead of the server's. Of several keys of an owner the greatest counts"`
}

// APIKey is a key as it is kept, which is without the key itself.
type APIKey struct {
	ID        string     `json:"key_id"`
	Name      string     `json:"name"`
	Owner     string     `json:"owner,omitempty"`
	Scope     scu.Scope  `json:"scope"`
	Prefix    string     `json:"prefix" doc:"How the key begins"`
	Limits    scu.Limits `json:"limits"`
	CreatedAt time.Time  `json:"created_at"`
	ExpiresAt *time.Time `json:"expires_at,omitempty"`
	LastUsed  *time.Time `json:"last_used,omitempty" doc:"To the hour or so"`
	Expired   bool       `json:"expired,omitempty"`
}

// Key makes what is asked for. text is the key itself.
func (r KeyRequest) Key(now time.Time) (k scu.Key, text string, err error) {
	if r.ExpiresAt != nil {
		at := r.ExpiresAt.UTC()
		r.ExpiresAt = &at
	}
	return scu.NewKey(scu.Key{Name: r.Name, Owner: r.Owner, Scope: r.Scope, ExpiresAt: r.ExpiresAt, Limits: r.Limits}, now)
}

// KeyOf is a key as it is shown.
func KeyOf(k scu.Key, now time.Time) APIKey {
	return APIKey{
		ID: k.ID, Name: k.Name, Owner: k.Owner, Scope: k.Scope, Prefix: k.Prefix(), Limits: k.Limits,
		CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt, LastUsed: k.LastUsed, Expired: k.Expired(now),
	}
}

// NewAPIKey is a new key with the key itself.
type NewAPIKey struct {
	APIKey
	Key string `json:"key" doc:"The key itself. It isn't shown again"`
}

// APIKeyList are keys, the oldest first.
type APIKeyList struct {
	Keys  []APIKey `json:"keys" nullable:"false"`
	Count int      `json:"count"`
}

// KeysOf are keys as they are shown.
func KeysOf(all []scu.Key, now time.Time) APIKeyList {
	l := APIKeyList{Keys: make([]APIKey, len(all)), Count: len(all)}
	for i, k := range all {
		l.Keys[i] = KeyOf(k, now)
	}
	return l
}

// CreateKey makes an API key. The answer alone has the key itself.
func (c *Client) CreateKey(ctx context.Context, r KeyRequest) (NewAPIKey, error) {
	return post[NewAPIKey](ctx, c, "/keys", r, "")
}

// Keys lists the API keys.
func (c *Client) Keys(ctx context.Context) (APIKeyList, error) {
	return call[APIKeyList](ctx, c, http.MethodGet, "/keys")
}

// RevokeKey ends an API key: what it has open breaks off within a second or so.
func (c *Client) RevokeKey(ctx context.Context, id string) (DeleteResponse, error) {
	return call[DeleteResponse](ctx, c, http.MethodDelete, "/keys/"+url.PathEscape(id))
}
