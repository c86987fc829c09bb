package data

import "testing"

// What Jinja2 3.1 gives, for expressions of kinds that chat templates use and that
// gonja by itself gets otherwise.
func TestExpressionsAsInJinja2(t *testing.T) {
	messages, err := fromJSON([]byte(`[{"role":"user","content":" b "},{"role":"assistant","content":"a"},{"role":"user","content":"c"}]`))
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		// lists
		`{{ messages[-1].role }}`:                                                                "user",
		`{{ messages[:-1]|length }}`:                                                             "2",
		`{{ messages[1:][-1].content }}`:                                                         "c",
		`{{ (messages|map(attribute='content')|list)[-1] }}`:                                     "c",
		`{{ (messages|selectattr('role','equalto','user')|list)[-1].content }}`:                  "c",
		`{{ (messages|rejectattr('role','equalto','user')|list)[-1].content }}`:                  "a",
		`{{ (['a','']|select|list)[-1] }}`:                                                       "a",
		`{{ (['a','b','a']|unique|list)[-1] }}`:                                                  "b",
		`{{ messages|map(attribute='content')|map('trim')|join(',') }}`:                          "b,a,c",
		`{{ (['b','a','c']|sort)[-1] }}`:                                                         "c",
		`{{ range(3, 0, -1)|list }}`:                                                             "[3, 2, 1]",
		`{{ range(2)|list|length }}`:                                                             "2",
		`{% for m in messages|reverse %}{{ loop.index0 }}{{ m.content }}{% endfor %}`:            "0c1a2 b ",
		`{{ (['b','a','c']|reverse|list)[-1] }}`:                                                 "b",
		`{{ messages|reverse|map(attribute='role')|list|last }}`:                                 "user",
		`{% set l = [] %}{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}`: " b c",
		// strings
		`{{ 'abc'|reverse }}`:        "cba",
		`{{ 'xax'|trim('x') }}`:      "a",
		"{{ '\x1f a\n'|trim }}":      "a",
		`{{ 5|trim }}`:               "5",
		`{{ 'a,b'.split(',')[-1] }}`: "b",
		`{{ 'xax'.strip('x') }}`:     "a",
		`{{ 'aBc dE'.title() }}`:     "Abc De",
		// conditions inside of an expression
		`{{ 'a' ~ ('b' if messages else 'c') }}`: "ab",
		`{{ 'a' if false }}`:                     "",
		// white space around blocks
		"a\n  {% if true %}\nb\n  {% endif %}\nc":   "a\nb\nc",
		"a {% if true %} b{% endif %}\n{# no #}\nc": "a  bc",
	} {
		got, _, err := newChatTemplate(map[string]string{"default": source}, nil).render(messages.(list), nil, false)
		if err != nil || got != want {
			t.Errorf("%s\n gives %q, %v\n want %q", source, got, err, want)
		}
	}
}
