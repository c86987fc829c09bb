package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/models"
)

// goWords are what the language's own errors and values look like, and the signs that JSON
// writes as \u003e.
var goWords = regexp.MustCompile(`\b(Go (struct|value|type)|u?int(8|16|32|64)\b|float(32|64)\b|\[\]\w|map\[|interface|struct\b|unmarshal|json:|strconv\.|ParseInt|ParseFloat|<nil>|0x[0-9a-f]{6,}|client\.\w|scu\.\w|runtime|reflect|unexpected end of JSON input|\w+\.go:\d+)|[<>]=?|\\u003[ce]`)

// However wrong a value's type is, what is said of it is in the user's words, and names
// the field.
func TestMessagesAreInTheUsersWords(t *testing.T) {
	r := start(t, nil)
	values := []string{`"text"`, `5.5`, `5.0`, `1e400`, `-1`, `99999999999999999999999`, `true`, `[]`, `["a", 1]`, `{}`, `{"a": 1}`, `[[1]]`, `null`, `NaN`, `{`}
	routes := map[string][]string{
		"/jobs/submit":   {"base_model", "train_data_path", "val_data_path", "target_s", "config_overrides", "recommend", "priority", "name", "from_adapter"},
		"/jobs/validate": {"base_model", "priority", "config_overrides"},
		"/data/check":    {"base_model", "train_data_path", "preview", "config_overrides"},
		"/estimate":      {"base_model", "tokens", "train_data_path"},
		"/recommend":     {"base_model", "train_data_path"},
	}
	ask := func(path, body string) {
		t.Helper()
		status, _, answer := r.ask(http.MethodPost, path, body)
		if m := goWords.FindString(answer); m != "" && status >= 400 {
			t.Errorf("POST %s %s: %q in %s", path, body, m, answer)
		}
		if status >= 500 {
			t.Errorf("POST %s %s: %d %s", path, body, status, answer)
		}
	}
	for path, fields := range routes {
		for _, value := range values {
			ask(path, value)
			for _, field := range fields {
				whole := map[string]string{"base_model": `"` + models.BuiltIn + `"`, "train_data_path": `"train.txt"`}
				whole[field] = value
				var parts []string
				for k, v := range whole {
					parts = append(parts, fmt.Sprintf("%q: %s", k, v))
				}
				ask(path, "{"+strings.Join(parts, ", ")+"}")
			}
		}
	}
	// Every setting of a job, with values of every kind.
	data, err := json.Marshal(scu.DefaultConfig())
	must(t, err)
	var settings map[string]any
	must(t, json.Unmarshal(data, &settings))
	for name, value := range settings {
		nested, _ := value.(map[string]any)
		for _, v := range values[:12] {
			ask("/jobs/validate", fmt.Sprintf(`{"base_model": %q, "train_data_path": "train.txt", "config_overrides": {%q: %s}}`, models.BuiltIn, name, v))
			for inner := range nested {
				ask("/jobs/validate", fmt.Sprintf(`{"base_model": %q, "train_data_path": "train.txt", "config_overrides": {%q: {%q: %s}}}`, models.BuiltIn, name, inner, v))
			}
		}
	}
	for _, path := range []string{"/jobs", "/files", "/jobs/0123456789abcdef/metrics", "/jobs/0123456789abcdef/events"} {
		for _, name := range []string{"limit", "after", "status", "nothing"} {
			for _, v := range []string{"x", "5.5", "-1", "99999999999999999999", ""} {
				_, _, answer := r.ask(http.MethodGet, path+"?"+url.Values{name: {v}}.Encode(), "")
				if m := goWords.FindString(answer); m != "" {
					t.Errorf("GET %s?%s=%s: %q in %s", path, name, v, m, answer)
				}
			}
		}
	}
}

// A whole number may be written as others write it; what isn't one is refused.
func TestWholeNumbers(t *testing.T) {
	r := start(t, nil)
	for value, want := range map[string]int{"5": 200, "5.0": 200, "5e0": 200, "0.5e1": 200, "5.5": 422, "1e9": 422, "1e400": 400, `"5"`: 422} {
		status, _, body := r.ask(http.MethodPost, "/jobs/submit", fmt.Sprintf(`{"base_model": %q, "train_data_path": "train.txt", "priority": %s}`, models.BuiltIn, value))
		if status != want {
			t.Errorf("priority %s: %d %s", value, status, body)
		}
		if status != 200 {
			continue
		}
		var answer struct {
			ID string `json:"job_id"`
		}
		must(t, json.Unmarshal([]byte(body), &answer))
		if j, err := r.sdk.Job(t.Context(), answer.ID); err != nil || j.Priority != 5 {
			t.Errorf("priority %s became %d, %v", value, j.Priority, err)
		}
	}
}
