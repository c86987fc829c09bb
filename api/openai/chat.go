package openai

import (
	"encoding/json"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

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
	if err := h.choose(c.Request().Context(), &a); err != nil {
		return err
	}
	out := completion[chatChoice]{ID: answerID("chatcmpl-"), Object: "chat.completion", Created: time.Now().Unix(), Model: a.model}
	if a.stream {
		out.Object = "chat.completion.chunk"
	}
	var drafts []draft[chatChoice]
	for n := range a.choices {
		g := a.each
		g.Seed += int64(n)
		drafts = append(drafts, draft[chatChoice]{g: g, choice: chatChoice{Index: n}, first: n == 0})
	}
	return answer(h, c, "chat.completions", a, out, drafts)
}

func (x *chatChoice) hear(t scu.TokenChance) {
	if x.Logprobs == nil {
		x.Logprobs = &chatLogprobs{}
	}
	x.Logprobs.Content = append(x.Logprobs.Content, chatTokenOf(t))
}

func (x *chatChoice) heard() bool { return x.Logprobs != nil }

func (x *chatChoice) opening() *chatChoice {
	nothing := ""
	return &chatChoice{Index: x.Index, Delta: &chatDelta{Role: "assistant", Content: &nothing}}
}

func (x *chatChoice) chunk(text string) chatChoice {
	part := *x
	part.Delta = &chatDelta{Content: &text}
	x.Logprobs = nil
	return part
}

func (x *chatChoice) end(text, reason string, whole bool) {
	x.FinishReason = &reason
	if whole {
		x.Message = &chatMessage{Role: "assistant", Content: text}
	} else {
		x.Delta = &chatDelta{}
	}
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
