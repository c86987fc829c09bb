package openai

import (
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/shannon-control/scu"
)

// completion is a Completion or a ChatCompletion, by its choices: whole, or one event of a
// stream.
type completion[C any] struct {
	ID      string `json:"id"`
	Object  string `json:"object"` // "text_completion", "chat.completion", "chat.completion.chunk"
	Created int64  `json:"created"`
	Model   string `json:"model"`
	Choices []C    `json:"choices"`
	Usage   *usage `json:"usage,omitempty"`
}

// draft is a choice of a completion that is still to be generated.
type draft[C any] struct {
	g      scu.Generation
	choice C
	text   string // that it begins with
	first  bool   // of its prompt: the prompt's tokens count once
}

// choiceOf is what the choices of each kind of completion have of their own.
type choiceOf[C any] interface {
	*C
	hear(scu.TokenChance)                // takes in a token's log probability
	heard() bool                         // reports whether it has any that no chunk told
	opening() *C                         // what a stream tells before its first chunk; nil: nothing
	chunk(text string) C                 // the next part of a stream
	end(text, reason string, whole bool) // makes it the last part, or the whole
}

// answer generates the choices of a completion and sends them, whole or as a stream. what
// names the endpoint in the log.
func answer[C any, P choiceOf[C]](h *handler, c echo.Context, what string, a asked, out completion[C], drafts []draft[C]) error {
	events := &stream{c: c}
	var used usage
	for _, d := range drafts {
		choice := P(&d.choice)
		var text strings.Builder
		text.WriteString(d.text)
		opening := choice.opening()
		send := func(part C) error {
			if opening != nil {
				out.Choices = []C{*opening}
				if err := events.send(out); err != nil {
					return err
				}
				opening = nil
			}
			out.Choices = []C{part}
			return events.send(out)
		}
		say := func(piece scu.Piece) error {
			if piece.Token != nil {
				choice.hear(*piece.Token)
			}
			text.WriteString(piece.Text)
			if !a.stream || text.Len() == 0 && !choice.heard() {
				return nil
			}
			part := choice.chunk(text.String())
			text.Reset()
			return send(part)
		}
		done, err := h.Generate(c.Request().Context(), d.g, say)
		if err != nil {
			return events.end(h, what, renamed(err, generationFields))
		}
		used.add(done, d.first)
		choice.end(text.String(), finish(done), !a.stream)
		if !a.stream {
			out.Choices = append(out.Choices, *choice)
			continue
		}
		if err := send(*choice); err != nil {
			return events.end(h, what, err)
		}
	}
	if !a.stream {
		out.Usage = &used
		return reply(c, out)
	}
	if a.usage {
		out.Choices, out.Usage = []C{}, &used
		if err := events.send(out); err != nil {
			return events.end(h, what, err)
		}
	}
	return events.end(h, what, nil)
}
