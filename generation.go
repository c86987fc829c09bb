package scu

import "encoding/json"

// Generation asks for a text to be continued by a base model, alone or with an adapter.
type Generation struct {
	BaseModel string // as Config.Base has it
	// Adapter is the zip of the adapter; without a job in it, the base alone answers.
	Adapter AdapterKey

	// What is continued is one of these: a text, its tokens, or the messages of a
	// conversation, a JSON array that the model's chat template writes.
	Prompt   string
	Tokens   []int32
	Messages json.RawMessage

	MaxTokens   int      // the most new tokens; 0: as many as there is room for
	Temperature float64  // divides the logits; 0: the likeliest token each time
	TopP        float64  // of the likeliest tokens those that have this share together; 0 or 1: all
	TopK        int      // so many of the likeliest tokens; 0: all
	Seed        int64    // of the choices: the same one gives the same text
	Stop        []string // each ends the text before itself
	// Alternatives asks for the probability of each token, and of so many of the
	// likeliest in its place; below 0: of none.
	Alternatives int
}

// Piece is what one new token adds to a text. Text is "" while it isn't settled: a
// character's bytes may be parted, or a stop may begin.
type Piece struct {
	Text  string
	Token *TokenChance // nil for what is only settled at the end, or if it wasn't asked for
}

// TokenChance is how likely a token was, before temperature.
type TokenChance struct {
	Text    string
	LogProb float64
	Others  []TokenChance // the likeliest in its place, from the likeliest on
}

// Generated is what a Generation came to.
type Generated struct {
	PromptTokens int
	Tokens       int  // new ones
	Ended        bool // by the model or a stop, not by a limit
}
