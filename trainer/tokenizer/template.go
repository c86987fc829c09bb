package tokenizer

import "fmt"

// template is what the post-processor puts around a text.
type template struct{ before, after []int32 }

// buildTemplate reads the post-processor. Several in a Sequence may stand there, but only one may add.
func buildTemplate(o *object) (t template, err error) {
	if o == nil {
		return t, nil
	}
	switch kind := o.kind(); kind {
	case "Sequence":
		for _, child := range o.children("processors") {
			c, err := buildTemplate(child)
			if err != nil {
				return t, err
			}
			if c.adds() && t.adds() {
				return t, fmt.Errorf("%s: a second processor that adds tokens is not supported", child.path)
			}
			if c.adds() {
				t = c
			}
		}
	case "ByteLevel":
		o.ignore("add_prefix_space", "trim_offsets", "use_regex") // they move offsets only
	case "TemplateProcessing":
		o.ignore("add_prefix_space", "trim_offsets", "use_regex") // Command R+ has ByteLevel's fields here
		t = readTemplate(o)
	case "BertProcessing", "RobertaProcessing":
		o.ignore("add_prefix_space", "trim_offsets")
		t.before = []int32{o.tokenWithID("cls")}
		t.after = []int32{o.tokenWithID("sep")}
	default:
		return t, o.unsupported(kind)
	}
	return t, o.done()
}

func (t template) adds() bool { return len(t.before)+len(t.after) > 0 }

// ids gives all ids of the template.
func (t template) ids() []int32 { return append(append([]int32{}, t.before...), t.after...) }

// tokenWithID reads ["token", id] and gives the id.
func (o *object) tokenWithID(name string) int32 {
	c := cursor{s: o.raw(name)}
	var parts []string
	if c.peek() == '[' {
		for c.next() {
			parts = append(parts, c.value())
		}
	}
	if len(parts) != 2 {
		o.fail(name, "want [token, id]")
		return 0
	}
	id, err := parseID(parts[1])
	if err != nil {
		o.fail(name, "%w", err)
	}
	return id
}

// maxTemplate bounds the ids that a template adds.
const maxTemplate = 1024

// readTemplate reads "single", the template for one text: special tokens and, once, the text. "pair" is
// for two texts, which nothing here encodes.
func readTemplate(o *object) (t template) {
	o.ignore("pair")
	known := map[string][]int32{}
	if special := o.child("special_tokens"); special != nil {
		for name := range special.fields {
			known[name] = special.specialToken(name)
		}
		o.finish(special)
	}
	texts := 0
	for _, item := range o.children("single") {
		if tok := item.child("SpecialToken"); tok != nil {
			tok.ignore("type_id")
			ids, ok := known[tok.string("id")]
			if !ok {
				tok.fail("id", "not among special_tokens")
			}
			if texts == 0 {
				t.before = append(t.before, ids...)
			} else {
				t.after = append(t.after, ids...)
			}
			item.finish(tok)
		}
		if text := item.child("Sequence"); text != nil {
			text.ignore("type_id")
			if id := text.string("id"); id != "A" {
				text.fail("id", "%q: one text is A", id)
			}
			texts++
			item.finish(text)
		}
		o.finish(item)
		if len(t.before)+len(t.after) > maxTemplate {
			o.fail("single", "more than %d ids", maxTemplate)
			return t
		}
	}
	if texts != 1 {
		o.fail("single", "the text stands there %d times; only once is supported", texts)
	}
	return t
}

// specialToken reads {"id": ..., "ids": [...], "tokens": [...]} and gives the ids.
func (o *object) specialToken(name string) (ids []int32) {
	tok := o.child(name)
	if tok == nil {
		o.missing(name)
		return nil
	}
	tok.ignore("id", "tokens")
	c := cursor{s: tok.raw("ids")}
	if c.peek() != '[' {
		tok.fail("ids", "want an array of ids")
		o.finish(tok)
		return nil
	}
	for c.next() {
		id, err := parseID(c.value())
		if err != nil {
			tok.fail("ids", "%w", err)
		}
		ids = append(ids, id)
	}
	o.finish(tok)
	return ids
}
