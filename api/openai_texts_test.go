package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

// parrot stands for a model that writes "a b" in two pieces after a prompt of three tokens,
// and keeps what it was asked.
type parrot struct {
	asked []scu.Generation
	fails error // after the first piece
}

func (p *parrot) generate(_ context.Context, g scu.Generation, emit func(scu.Piece) error) (scu.Generated, error) {
	p.asked = append(p.asked, g)
	for i, text := range []string{"a", " b"} {
		piece := scu.Piece{Text: text}
		if g.Alternatives >= 0 {
			piece.Token = &scu.TokenChance{Text: text, LogProb: -0.5}
			for range g.Alternatives {
				piece.Token.Others = append(piece.Token.Others, scu.TokenChance{Text: text, LogProb: -0.5})
			}
		}
		if err := emit(piece); err != nil {
			return scu.Generated{}, err
		}
		if i == 0 && p.fails != nil {
			return scu.Generated{}, p.fails
		}
	}
	return scu.Generated{PromptTokens: 3, Tokens: 2, Ended: g.MaxTokens != 2}, nil
}

func startParrot(t *testing.T) (*rig, *parrot) {
	t.Helper()
	p := &parrot{}
	return startOpenAI(t, func(o *Options) { o.Generate = p.generate }), p
}

// chunks are the events of a stream, which must end as the clients expect.
func (r *rig) chunks(t *testing.T, path, body string) (all []object) {
	t.Helper()
	status, head, text := r.ask("POST", "/v1/"+path, body)
	if status != 200 || head.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d %v %s", status, head, text)
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n\n"), "\n\n")
	if lines[len(lines)-1] == "data: [DONE]" {
		lines = lines[:len(lines)-1]
	} else if !strings.HasPrefix(lines[len(lines)-1], `data: {"error":`) {
		t.Errorf("the stream ends with %q", lines[len(lines)-1])
	}
	for _, line := range lines {
		data, ok := strings.CutPrefix(line, "data: ")
		var o object
		if err := json.Unmarshal([]byte(data), &o); err != nil || !ok {
			t.Fatalf("an event is %q", line)
		}
		all = append(all, o)
	}
	return all
}

var (
	completionShape     = shape{"id": "string", "object": "text_completion", "created": "int", "model": "bookworm-2m", "choices": "array", "usage": "object"}
	textShape           = shape{"text": "string", "index": "int", "logprobs": "object?", "finish_reason": "string"}
	chatShape           = shape{"id": "string", "object": "chat.completion", "created": "int", "model": "bookworm-2m", "choices": "array", "usage": "object"}
	chatChoiceShape     = shape{"index": "int", "message": "object", "logprobs": "object?", "finish_reason": "string"}
	chatChunkShape      = shape{"id": "string", "object": "chat.completion.chunk", "created": "int", "model": "bookworm-2m", "choices": "array"}
	chatDeltaShape      = shape{"index": "int", "delta": "object", "logprobs": "object?", "finish_reason": "string?"}
	completionChunk     = shape{"id": "string", "object": "text_completion", "created": "int", "model": "bookworm-2m", "choices": "array"}
	completionPartShape = shape{"text": "string", "index": "int", "logprobs": "object?", "finish_reason": "string?"}
	usageShape          = shape{"prompt_tokens": "int", "completion_tokens": "int", "total_tokens": "int"}
)

func TestOpenAICompletions(t *testing.T) {
	r, p := startParrot(t)
	o := r.v1(t, "POST", "completions", `{"model":"bookworm-2m","prompt":["x","y"],"n":2,"max_tokens":5,"temperature":0.5,"top_p":0.9,"seed":4,"stop":"."}`, 200)
	fits(t, "a completion", o, completionShape)
	fits(t, "its usage", o.in("usage"), usageShape)
	if u := o.in("usage"); u["prompt_tokens"] != 6. || u["completion_tokens"] != 8. || u["total_tokens"] != 14. {
		t.Errorf("its usage is %v", u)
	}
	for i, c := range o.list("choices") {
		fits(t, "a choice", c, textShape)
		if c["index"] != float64(i) || c.text("text") != "a b" || c.text("finish_reason") != "stop" || c["logprobs"] != nil {
			t.Errorf("choice %d is %v", i, c)
		}
	}
	var seen []string
	for _, g := range p.asked {
		seen = append(seen, fmt.Sprint(g.Prompt, g.MaxTokens, g.Temperature, g.TopP, g.Seed, g.Stop, g.Alternatives))
	}
	if want := []string{"x5 0.5 0.9 4 [.] -1", "x5 0.5 0.9 5 [.] -1", "y5 0.5 0.9 4 [.] -1", "y5 0.5 0.9 5 [.] -1"}; !slices.Equal(seen, want) {
		t.Errorf("the model is asked %q", seen)
	}
	for body, want := range map[string]string{
		`"prompt":"x","max_tokens":2`:                             "a b length",
		`"prompt":"x","echo":true`:                                "xa b stop",
		`"prompt":[1,2,3]`:                                        "a b stop",
		`"prompt":[[1,2],[3]]`:                                    "a b stop",
		`"prompt":"x","user":"me","best_of":1,"suffix":""`:        "a b stop",
		`"prompt":"x","presence_penalty":0,"logit_bias":{}`:       "a b stop",
		`"prompt":"x","stop":null,"seed":null,"max_tokens":null`:  "a b stop",
		`"prompt":"x","top_p":0,"temperature":0,"stop":["a","b"]`: "a b stop",
	} {
		c := r.v1(t, "POST", "completions", `{"model":"bookworm-2m",`+body+`}`, 200).list("choices")[0]
		if got := c.text("text") + " " + c.text("finish_reason"); got != want {
			t.Errorf("%s answers %q, want %q", body, got, want)
		}
	}
	probed := r.v1(t, "POST", "completions", `{"model":"bookworm-2m","prompt":"x","logprobs":1}`, 200).list("choices")[0].in("logprobs")
	want := object{"tokens": []any{"a", " b"}, "token_logprobs": []any{-0.5, -0.5}, "top_logprobs": []any{map[string]any{"a": -0.5}, map[string]any{" b": -0.5}}, "text_offset": []any{0., 1.}}
	if !reflect.DeepEqual(probed, want) {
		t.Errorf("probabilities are %v, want %v", probed, want)
	}

	parts := r.chunks(t, "completions", `{"model":"bookworm-2m","prompt":"x","stream":true,"stream_options":{"include_usage":true}}`)
	text, id := "", parts[0].text("id")
	for i, part := range parts[:len(parts)-1] {
		fits(t, "a chunk", part, completionChunk)
		c := part.list("choices")[0]
		fits(t, "its choice", c, completionPartShape)
		if text += c.text("text"); part.text("id") != id || (c["finish_reason"] != nil) != (i == len(parts)-2) {
			t.Errorf("a chunk is %v", part)
		}
	}
	end := parts[len(parts)-1]
	if text != "a b" || len(end.list("choices")) != 0 || end.in("usage")["total_tokens"] != 5. {
		t.Errorf("the stream has %q, and ends with %v", text, end)
	}
}

func TestOpenAIChat(t *testing.T) {
	r, p := startParrot(t)
	const messages = `"messages":[{"role":"developer","content":"Be brief."},{"role":"user","content":"x"}]`
	o := r.v1(t, "POST", "chat/completions", `{"model":"bookworm-2m",`+messages+`,"max_completion_tokens":5,"n":2}`, 200)
	fits(t, "a chat completion", o, chatShape)
	fits(t, "its usage", o.in("usage"), usageShape)
	for _, c := range o.list("choices") {
		fits(t, "a choice", c, chatChoiceShape)
		fits(t, "its message", c.in("message"), shape{"role": "assistant", "content": "a b", "refusal": "string?"})
	}
	if got := string(p.asked[0].Messages); got != `[{"content":"Be brief.","role":"system"},{"content":"x","role":"user"}]` || p.asked[0].MaxTokens != 5 {
		t.Errorf("the model is asked %s, of %d tokens", got, p.asked[0].MaxTokens)
	}
	probed := r.v1(t, "POST", "chat/completions", `{"model":"bookworm-2m",`+messages+`,"logprobs":true,"top_logprobs":2}`, 200).list("choices")[0].in("logprobs")
	for _, token := range probed.list("content") {
		fits(t, "a token", token, shape{"token": "string", "logprob": "number", "bytes": "array", "top_logprobs": "array"})
		if len(token.list("top_logprobs")) != 2 {
			t.Errorf("a token is %v", token)
		}
	}
	parts := r.chunks(t, "chat/completions", `{"model":"bookworm-2m",`+messages+`,"max_tokens":2,"stream":true}`)
	text := ""
	for i, part := range parts {
		fits(t, "a chunk", part, chatChunkShape)
		c := part.list("choices")[0]
		fits(t, "its choice", c, chatDeltaShape)
		delta := c.in("delta")
		text += delta.text("content")
		if last := i == len(parts)-1; (delta["role"] == "assistant") != (i == 0) || last != (c["finish_reason"] == "length") || !last && delta["content"] == nil {
			t.Errorf("chunk %d is %v", i, part)
		}
	}
	if text != "a b" {
		t.Errorf("the stream has %q", text)
	}
	for _, more := range []string{`"tools":[],"tool_choice":"none","store":false,"parallel_tool_calls":true,"response_format":{"type":"text"}`, `"metadata":{"a":"b"},"service_tier":"auto"`} {
		r.v1(t, "POST", "chat/completions", `{"model":"bookworm-2m",`+messages+`,`+more+`}`, 200)
	}
}

// What a model can't do is refused by name, before it begins or in the stream.
func TestOpenAIBadTexts(t *testing.T) {
	r, p := startParrot(t)
	for _, c := range []struct {
		fields string
		code   scu.Code
		param  string
	}{
		{`"prompt":null`, scu.CodeInvalid, "prompt"}, {`"prompt":1`, scu.CodeInvalid, "prompt"}, {`"prompt":[]`, scu.CodeInvalid, "prompt"},
		{`"prompt":["` + strings.Repeat(`x","`, 32) + `x"]`, scu.CodeInvalid, "prompt"},
		{`"prompt":"x","n":0`, scu.CodeInvalid, "n"}, {`"prompt":"x","n":17`, scu.CodeInvalid, "n"},
		{`"prompt":"x","temperature":3`, scu.CodeInvalid, "temperature"}, {`"prompt":"x","temperature":"hot"`, scu.CodeInvalid, "temperature"},
		{`"prompt":"x","top_p":-1`, scu.CodeInvalid, "top_p"}, {`"prompt":"x","max_tokens":0`, scu.CodeInvalid, "max_tokens"},
		{`"prompt":"x","max_tokens":-1`, scu.CodeInvalid, "max_tokens"}, {`"prompt":"x","logprobs":-1`, scu.CodeInvalid, "logprobs"},
		{`"prompt":[1,2],"echo":true`, scu.CodeUnsupported, "echo"},
		{`"prompt":"x","stop":["a","b","c","d","e"]`, scu.CodeInvalid, "stop"}, {`"prompt":"x","stop":""`, scu.CodeInvalid, "stop"},
		{`"prompt":"x","logprobs":21`, scu.CodeInvalid, "logprobs"}, {`"prompt":"x","echo":true,"logprobs":1`, scu.CodeUnsupported, "echo"},
		{`"prompt":"x","best_of":3`, scu.CodeUnsupported, "best_of"}, {`"prompt":"x","suffix":"y"`, scu.CodeUnsupported, "suffix"},
		{`"prompt":"x","logit_bias":{"1":2}`, scu.CodeUnsupported, "logit_bias"}, {`"prompt":"x","presence_penalty":1`, scu.CodeUnsupported, "presence_penalty"},
		{`"prompt":"x","colour":"red"`, scu.CodeInvalid, "colour"},
	} {
		r.v1Refused(t, "POST", "completions", `{"model":"bookworm-2m",`+c.fields+`}`, 400, string(c.code), c.param)
	}
	const messages = `"messages":[{"role":"user","content":"x"}]`
	for _, c := range []struct {
		fields string
		code   scu.Code
		param  string
	}{
		{`"messages":[]`, scu.CodeInvalid, "messages"}, {`"messages":"x"`, scu.CodeInvalid, "messages"}, {`"user":"me"`, scu.CodeInvalid, "messages"},
		{messages + `,"tools":[{"type":"function"}]`, scu.CodeUnsupported, "tools"}, {messages + `,"functions":[{}]`, scu.CodeUnsupported, "functions"},
		{messages + `,"response_format":{"type":"json_object"}`, scu.CodeUnsupported, "response_format"},
		{messages + `,"max_completion_tokens":-1`, scu.CodeInvalid, "max_completion_tokens"}, {messages + `,"max_completion_tokens":5,"max_tokens":0`, scu.CodeInvalid, "max_tokens"},
		{messages + `,"top_logprobs":2`, scu.CodeInvalid, "top_logprobs"}, {messages + `,"logprobs":true,"top_logprobs":21`, scu.CodeInvalid, "top_logprobs"},
		{messages + `,"modalities":["audio"]`, scu.CodeUnsupported, "modalities"}, {messages + `,"reasoning_effort":"low"`, scu.CodeUnsupported, "reasoning_effort"},
	} {
		r.v1Refused(t, "POST", "chat/completions", `{"model":"bookworm-2m",`+c.fields+`}`, 400, string(c.code), c.param)
	}
	if len(p.asked) != 0 {
		t.Errorf("the model was asked %v", p.asked)
	}
	for path, body := range map[string]string{"completions": `"prompt":"x"`, "chat/completions": messages} {
		r.v1Refused(t, "POST", path, `{`+body+`}`, 400, string(scu.CodeInvalid), "model")
		p.fails = scu.Errorf(scu.CodeUnavailable, "too many wait")
		r.v1Refused(t, "POST", path, `{"model":"bookworm-2m",`+body+`}`, http.StatusServiceUnavailable, string(scu.CodeUnavailable), "")
		if _, head, _ := r.ask("POST", "/v1/"+path, `{"model":"bookworm-2m",`+body+`}`); head.Get("Retry-After") == "" {
			t.Errorf("%s: a refusal for now has no Retry-After", path)
		}
		parts := r.chunks(t, path, `{"model":"bookworm-2m",`+body+`,"stream":true}`)
		if e := parts[len(parts)-1].in("error"); e.text("code") != string(scu.CodeUnavailable) || e.text("type") != "server_error" {
			t.Errorf("%s: a stream that breaks off ends with %v", path, parts[len(parts)-1])
		}
		p.fails = fmt.Errorf("something of ours broke at %s", r.data)
		if said := r.v1Refused(t, "POST", path, `{"model":"bookworm-2m",`+body+`}`, http.StatusInternalServerError, string(scu.CodeInternal), ""); strings.Contains(said, r.data) {
			t.Errorf("a fault of ours tells %q", said)
		}
	}
	none := startOpenAI(t, nil)
	none.v1Refused(t, "POST", "completions", `{"model":"bookworm-2m","prompt":"x"}`, 400, string(scu.CodeUnsupported), "")
}
