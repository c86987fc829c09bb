package hub

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// Whoami is the name of the token's account, under which its repositories are.
//
// Errors wrap one of the Err values where one fits.
func (c *Client) Whoami(ctx context.Context) (string, error) {
	switch {
	case c.Offline:
		return "", errors.New("hub: offline mode is on (HF_HUB_OFFLINE)")
	case c.Token == "":
		return "", fmt.Errorf("hub: %w", ErrUnauthorized)
	}
	resp, err := c.do(ctx, call{method: http.MethodGet, url: c.endpoint() + "/api/whoami-v2"})
	if err != nil {
		return "", fmt.Errorf("hub: ask for the account's name: %w", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Name string `json:"name"`
	}
	if err := readJSON(resp, &answer); err != nil {
		return "", fmt.Errorf("hub: %w", err)
	}
	if err := checkRepo(answer.Name + "/model"); err != nil {
		return "", fmt.Errorf("hub: the account's %w", err)
	}
	return answer.Name, nil
}
