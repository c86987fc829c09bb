package openai

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// chatCompletion is a ChatCompletion, or one chunk of a stream.
type chatCompletion struct {
	ID      string       `json:"id"`
	Object  string       `json:"object"` // "chat.completion", "chat.completion.chunk"
	Created int64        `json:"created"`
	Model   string       `json:"model"`
	Choices []chatChoice `json:"choices"`
	Usage   *usage       `json:"usage,omitempty"`
}

type chatChoice struct {
	Index        int           `json:"index"`
	Message      *chatMessage  `json:"message,omitempty"` // of a whole answer
	Delta        *chatDelta    `json:"delta,omitempty"`   // of a chunk
	Logprobs     *chatLogprobs `json:"logprobs"`
	FinishReason *string       `json:"finish_reason"`
}

type chatMessage struct {
	Role    string  `json:"role"` // "assistant"
	Content string  `json:"content"`
	Refusal *string `json:"refusal"`
}

type chatDelta struct {
	Role    string  `json:"role,omitempty"`
	Content *string `json:"content,omitempty"`
}

type chatLogprobs struct {
	Content []chatToken `json:"content"`
	Refusal []chatToken `json:"refusal"`
}

type chatToken struct {
	alternative
	Top []alternative `json:"top_logprobs"`
}

type alternative struct {
	Token   string  `json:"token"`
	Logprob float64 `json:"logprob"`
	Bytes   []int   `json:"bytes"`
}

func (h *handler) chat(c echo.Context) error {
	f, err := readFields(c)
	if err != nil {
		return err
	}
	var a asked
	var messages []map[string]json.RawMessage
	var logprobs bool
	top := 0
	err = scu.Join(
		f.readSampling(&a, "max_completion_tokens", "max_tokens"),
		f.take("messages", "an array of messages", &messages),
		f.take("logprobs", "true or false", &logprobs),
		f.take("top_logprobs", "a whole number", &top),
		f.refuse("tools", "models here call no tools", "[]"),
		f.refuse("functions", "models here call no functions", "[]"),
		f.refuse("tool_choice", "models here call no tools", `"none"`, `"auto"`),
		f.refuse("response_format", "answers have no prescribed form here", `{"type":"text"}`, `{"type": "text"}`),
		f.refuse("modalities", "models here write text alone", `["text"]`),
		f.refuse("reasoning_effort", "is not implemented here"),
		f.refuse("store", "nothing is stored here", "false"),
	)
	f.ignore("parallel_tool_calls", "service_tier", "metadata")
	if err := scu.Join(err, f.rest()); err != nil {
		return err
	}
	switch {
	case len(messages) == 0:
		return scu.Errorf(scu.CodeInvalid, "must be at least one message").At("messages")
	case top < 0 || top > maxTop:
		return scu.Errorf(scu.CodeInvalid, "must be from 0 to %d", maxTop).At("top_logprobs")
	case top > 0 && !logprobs:
		return scu.Errorf(scu.CodeInvalid, "needs logprobs to be true").At("top_logprobs")
	}
	if a.each.Messages, err = conversation(messages); err != nil {
		return err
	}
	if logprobs {
		a.each.Alternatives = top
	}
	ctx := c.Request().Context()
	if err := h.choose(ctx, &a); err != nil {
		return err
	}
	out := chatCompletion{ID: answerID("chatcmpl-"), Object: "chat.completion", Created: time.Now().Unix(), Model: a.model}
	if a.stream {
		out.Object = "chat.completion.chunk"
	}
	events := &stream{c: c}
	var used usage
	for n := range a.choices {
		g := a.each
		g.Seed += int64(n)
		choice := chatChoice{Index: n}
		var text strings.Builder
		begun := false
		send := func(part chatChoice) error {
			if !begun {
				begun = true
				first := ""
				opening := chatChoice{Index: n, Delta: &chatDelta{Role: "assistant", Content: &first}}
				out.Choices = []chatChoice{opening}
				if err := events.send(out); err != nil {
					return err
				}
			}
			out.Choices = []chatChoice{part}
			return events.send(out)
		}
		say := func(piece scu.Piece) error {
			if piece.Token != nil {
				if choice.Logprobs == nil {
					choice.Logprobs = &chatLogprobs{}
				}
				choice.Logprobs.Content = append(choice.Logprobs.Content, chatTokenOf(*piece.Token))
			}
			text.WriteString(piece.Text)
			if !a.stream || text.Len() == 0 && choice.Logprobs == nil {
				return nil
			}
			content := text.String()
			text.Reset()
			part := choice
			part.Delta = &chatDelta{Content: &content}
			choice.Logprobs = nil
			return send(part)
		}
		done, err := h.Generate(ctx, g, say)
		if err != nil {
			return events.end(h, "chat.completions", renamed(err, generationFields))
		}
		used.add(done, n == 0)
		reason := finish(done)
		choice.FinishReason = &reason
		if !a.stream {
			choice.Message = &chatMessage{Role: "assistant", Content: text.String()}
			out.Choices = append(out.Choices, choice)
			continue
		}
		choice.Delta = &chatDelta{}
		if err := send(choice); err != nil {
			return events.end(h, "chat.completions", err)
		}
	}
	if !a.stream {
		out.Usage = &used
		return reply(c, out)
	}
	if a.usage {
		out.Choices, out.Usage = []chatChoice{}, &used
		if err := events.send(out); err != nil {
			return events.end(h, "chat.completions", err)
		}
	}
	return events.end(h, "chat.completions", nil)
}

// conversation is messages as chat templates know them: a developer speaks as the system.
func conversation(messages []map[string]json.RawMessage) (json.RawMessage, error) {
	for _, m := range messages {
		if string(m["role"]) == `"developer"` {
			m["role"] = json.RawMessage(`"system"`)
		}
	}
	return json.Marshal(messages)
}

func chatTokenOf(t scu.TokenChance) chatToken {
	out := chatToken{alternativeOf(t), make([]alternative, len(t.Others))}
	for i, o := range t.Others {
		out.Top[i] = alternativeOf(o)
	}
	return out
}

func alternativeOf(t scu.TokenChance) alternative {
	a := alternative{Token: t.Text, Logprob: t.LogProb, Bytes: make([]int, len(t.Text))}
	for i := range len(t.Text) {
		a.Bytes[i] = int(t.Text[i])
	}
	return a
}
