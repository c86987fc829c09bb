package data

import "encoding/json"

// ChatTemplate is a model's way to write a conversation as one text.
type ChatTemplate struct{ digest string }

func (j *jsonlReader) conversation(fields map[string]json.RawMessage) (document, *refusal) {
	return document{}, refusef(Chat, "the model has no chat template; use \"text\", or \"prompt\" and \"completion\"")
}
