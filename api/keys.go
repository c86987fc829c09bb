package api

import (
	"context"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/api/client"
)

type createKeyInput struct {
	Body client.KeyRequest
}

// createKey makes a key. Where the server has no key of its own the first one is an
// administrator's: from then on every request needs one.
func (s *Server) createKey(ctx context.Context, in *createKeyInput) (*reply[client.NewAPIKey], error) {
	now := time.Now()
	k, text, err := in.Body.Key(now)
	if err != nil {
		return nil, err
	}
	if k.Scope != scu.ScopeAdmin {
		if ok, err := s.administered(ctx, ""); err != nil {
			return nil, err
		} else if !ok {
			return nil, scu.Errorf(scu.CodeConflict, "the first key has to be an administrator's: as soon as there is one, every request needs a key").At("scope").
				WithHint("make one of scope admin first, or start the server with SCU_API_KEY")
		}
	}
	if err := s.o.Broker.AddKey(ctx, k); err != nil {
		return nil, err
	}
	s.keys.shown(ctx, k.ID, true)
	s.log.InfoContext(ctx, "an API key was made", "made", k.ID, "of", k.Owner, "scope", k.Scope)
	return answer(client.NewAPIKey{APIKey: client.KeyOf(k, now), Key: text}), nil
}

// administered reports whether there is an administrator's key besides one.
func (s *Server) administered(ctx context.Context, besides string) (bool, error) {
	if s.o.Key != "" {
		return true, nil
	}
	all, err := s.o.Broker.Keys(ctx)
	if err != nil {
		return false, err
	}
	for _, k := range all {
		if k.ID != besides && k.Scope == scu.ScopeAdmin && !k.Expired(time.Now()) {
			return true, nil
		}
	}
	return false, nil
}

func (s *Server) listKeys(ctx context.Context, _ *struct{}) (*reply[client.APIKeyList], error) {
	all, err := s.o.Broker.Keys(ctx)
	if err != nil {
		return nil, err
	}
	return answer(client.KeysOf(all, time.Now())), nil
}

type keyInput struct {
	ID string `path:"id" doc:"The key's id"`
}

func (s *Server) revokeKey(ctx context.Context, in *keyInput) (*reply[client.DeleteResponse], error) {
	k, err := s.o.Broker.Key(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if k.Scope == scu.ScopeAdmin {
		if ok, err := s.administered(ctx, k.ID); err != nil {
			return nil, err
		} else if !ok {
			return nil, scu.Errorf(scu.CodeConflict, "it is the last administrator's key, and the server has none of its own").
				WithHint("make another of scope admin first, or start the server with SCU_API_KEY")
		}
	}
	if err := s.o.Broker.RemoveKey(ctx, k.ID); err != nil {
		return nil, err
	}
	s.keys.shown(ctx, k.ID, false)
	s.log.InfoContext(ctx, "an API key was revoked", "revoked", k.ID, "of", k.Owner)
	return answer(client.DeleteResponse{Message: "Key " + k.ID + " revoked", ID: k.ID}), nil
}
