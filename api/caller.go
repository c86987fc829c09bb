package api

import (
	"context"

	"github.com/shannon-control/scu"
)

// caller is who asks. Its zero value is a stranger, who may see nothing.
type caller struct {
	key   string // the id of the key; "" for the server's own key, or where none is needed
	owner string // "": the administrator
	scope scu.Scope
}

// administrator asks with the server's own key, or without one where none is needed.
var administrator = caller{scope: scu.ScopeAdmin}

// sees reports whether what an owner has is there for the caller.
func (c caller) sees(owner string) bool {
	return c.scope == scu.ScopeAdmin || c.owner != "" && c.owner == owner
}

// only is the owner whose things alone the caller sees; "" is everybody's.
func (c caller) only() string {
	if c.scope == scu.ScopeAdmin {
		return ""
	}
	return c.owner
}

type callerKey struct{}

func withCaller(ctx context.Context, c caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// callerOf is the caller that a request comes from.
func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}
