package hub

import (
	"os"
	"path/filepath"
	"strings"
)

// FromEnv makes a client with the settings that Python's huggingface_hub would use:
//
//	HF_ENDPOINT     the Hub's address
//	HF_HUB_CACHE    the cache; else $HF_HOME/hub
//	HF_HOME         else $XDG_CACHE_HOME/huggingface, else ~/.cache/huggingface
//	HF_TOKEN        the token; else the file HF_TOKEN_PATH, else $HF_HOME/token
//	HF_HUB_OFFLINE  1, on, yes or true: no network
func FromEnv() *Client {
	home := expand(os.Getenv("HF_HOME"))
	if home == "" {
		cache := os.Getenv("XDG_CACHE_HOME")
		if cache == "" {
			cache = "~/.cache"
		}
		home = filepath.Join(expand(cache), "huggingface")
	}
	c := &Client{
		Endpoint: os.Getenv("HF_ENDPOINT"),
		Token:    Token(strings.TrimSpace(os.Getenv("HF_TOKEN"))),
		CacheDir: expand(os.Getenv("HF_HUB_CACHE")),
	}
	if c.CacheDir == "" {
		c.CacheDir = filepath.Join(home, "hub")
	}
	if c.Token == "" {
		path := expand(os.Getenv("HF_TOKEN_PATH"))
		if path == "" {
			path = filepath.Join(home, "token")
		}
		// Without the file the user is not logged in, which is no error.
		if text, err := os.ReadFile(path); err == nil {
			c.Token = Token(strings.TrimSpace(string(text)))
		}
	}
	switch strings.ToLower(os.Getenv("HF_HUB_OFFLINE")) {
	case "1", "on", "yes", "true":
		c.Offline = true
	}
	return c
}

// expand replaces $VARIABLES and a leading "~".
func expand(path string) string {
	path = os.ExpandEnv(path)
	if path == "~" || strings.HasPrefix(path, "~/") {
		if home, err := os.UserHomeDir(); err == nil {
			return home + path[1:]
		}
	}
	return path
}
