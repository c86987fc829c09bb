package web_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
)

// tab goes on by the Tab key, or back, until the focus is on an element of a selector. Wherever
// it is on the way can be seen.
func (b *browser) tab(selector string, modifiers ...input.Modifier) {
	b.t.Helper()
	for range 120 {
		b.do(chromedp.KeyEvent("\t", chromedp.KeyModifiers(modifiers...)))
		var at struct {
			There, Seen bool
			What        string
		}
		b.eval(fmt.Sprintf(`(() => {
			const e = document.activeElement, drawn = (x) => x && getComputedStyle(x).outlineStyle !== "none" && parseFloat(getComputedStyle(x).outlineWidth) > 0;
			return { There: e.matches(%q), Seen: e === document.body || drawn(e) || drawn(e.closest("label")), What: e.outerHTML.slice(0, 120) };
		})()`, selector), &at)
		if !at.Seen {
			b.t.Errorf("the focus isn't seen on %s", at.What)
		}
		if at.There {
			return
		}
	}
	b.shot("failed")
	b.t.Fatalf("the Tab key doesn't come to %s", selector)
}

func (b *browser) press(key string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(key))
}

// From an empty page to a trained adapter and a comparison, by the keyboard alone.
func TestByKeyboardAlone(t *testing.T) {
	s := serve(t)
	b := open(t, s, 1280, 900)
	b.visit("")
	b.says(".drop", "No jobs yet")
	b.tab("a.drop")
	b.press("\r")
	b.says("h1", "New job")
	b.tab("input[type=file]")
	text, err := filepath.Abs("../../examples/text/keeper.txt")
	must(t, err)
	b.do(chromedp.SetUploadFiles("input[type=file]:focus", []string{text}, chromedp.ByQuery)) // what the system's dialogue would choose
	b.until("!document.querySelector('.go .primary')?.disabled && document.querySelector('.verdict')?.innerText.includes('about')")
	b.tab(".go .primary")
	b.press("\r")
	b.until("document.querySelector('[data-status=completed]')")
	b.tab("a[download][href$='/adapter']", input.ModifierShift)
	second := s.submit("the second", 1, 0.05)
	b.tab("nav a[href='#/jobs']", input.ModifierShift)
	b.press("\r")
	b.until("[...document.querySelectorAll('tbody tr')].filter((e) => e.innerText.includes('completed')).length === 2")
	b.tab("tr[data-job='" + second + "'] input")
	b.press(" ")
	b.tab("tr:not([data-job='" + second + "']) input")
	b.press(" ")
	b.tab("a[href^='#/compare']", input.ModifierShift)
	b.press("\r")
	b.until("document.querySelectorAll('.chart canvas').length === 4")
}

// operated are the roles of what a person operates, or takes in as one.
var operated = []string{"button", "link", "textbox", "searchbox", "spinbutton", "checkbox", "combobox", "image", "progressbar", "tab", "tabpanel", "figure", "region", "navigation"}

// nameless checks that a screen reader has a name for everything on the page.
func (b *browser) nameless(what string) {
	b.t.Helper()
	type value struct {
		Value any `json:"value"`
	}
	var tree struct { // not cdproto's own, which knows fewer reasons than the browser has
		Nodes []struct {
			Ignored bool  `json:"ignored"`
			Role    value `json:"role"`
			Name    value `json:"name"`
			Element int64 `json:"backendDOMNodeId"`
		} `json:"nodes"`
	}
	b.do(chromedp.ActionFunc(func(ctx context.Context) error {
		return cdp.Execute(ctx, accessibility.CommandGetFullAXTree, nil, &tree)
	}))
	named := 0
	for _, n := range tree.Nodes {
		role, _ := n.Role.Value.(string)
		if n.Ignored || !slices.Contains(operated, role) {
			continue
		}
		if name, _ := n.Name.Value.(string); strings.TrimSpace(name) == "" {
			b.t.Errorf("%s: a %s without a name (node %d)", what, role, n.Element)
		}
		named++
	}
	if named < 5 {
		b.t.Errorf("%s: the tree has %d elements with a name", what, named)
	}
}

// contrast lists the texts of a page that stand out too little from what is behind them: below
// 4.5 to 1, by WCAG 2.2. What is disabled is left out, as there.
const contrast = `(() => {
	const rgba = (c) => { const n = c.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
	const over = (a, b) => [0, 1, 2].map((i) => a[i] * a[3] + b[i] * (1 - a[3]));
	const light = (c) => c.slice(0, 3).map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
	const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + 0.05) / (y + 0.05); };
	const behind = (e) => { const under = []; for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] > 0) under.unshift(c); if (c[3] === 1) break; } return under.reduce((b, c) => over(c, b), [255, 255, 255]); };
	const faint = (e) => { let o = 1; for (; e; e = e.parentElement) o *= Number(getComputedStyle(e).opacity); return o; };
	const bad = [];
	for (const e of document.querySelectorAll("body *")) {
		const own = [...e.childNodes].filter((n) => n.nodeType === 3 && n.data.trim()).map((n) => n.data.trim()).join(" ") || e.placeholder || (e.matches("input:not([type=checkbox]):not([type=file]), textarea") && e.value);
		if (!own || !e.checkVisibility() || e.closest(":disabled")) continue;
		const b = behind(e), c = rgba(getComputedStyle(e, e.placeholder && !e.value ? "::placeholder" : undefined).color), r = ratio(over([c[0], c[1], c[2], c[3] * faint(e)], b), b);
		if (r < 4.5) bad.push(own.slice(0, 40) + " (" + (e.className || e.tagName) + "): " + r.toFixed(2));
	}
	const css = getComputedStyle(document.documentElement), probe = document.body.appendChild(document.createElement("i"));
	const of = (name) => { probe.style.color = css.getPropertyValue(name); return rgba(getComputedStyle(probe).color); };
	for (const name of ["--muted", "--target", "--bad", "--val"]) { // what charts write with
		const r = ratio(of(name), of("--surface"));
		if (r < (name === "--val" ? 3 : 4.5)) bad.push("charts: " + name + ": " + r.toFixed(2));
	}
	probe.remove();
	return [...new Set(bad)];
})()`

// On every screen everything has a name for a screen reader, and every text stands out, in both
// schemes of colours.
func TestNamesAndContrast(t *testing.T) {
	s := serve(t)
	id, other := s.submit("one", 2, 0.05), s.submit("two", 1, 0.002)
	b := open(t, s, 1280, 900)
	b.visit("#/jobs/" + id)
	b.until("document.querySelector('[data-status=completed]')")
	for _, screen := range []struct{ fragment, shown string }{
		{"#/jobs", "document.querySelectorAll('tbody tr').length === 2"},
		{"#/jobs/" + other, "document.querySelector('[data-status=completed]') && document.querySelector('textarea').value"},
		{"#/new?from=" + id, "document.querySelector('.verdict')?.innerText.includes('about')"},
		{"#/compare?jobs=" + id + "," + other, "document.querySelectorAll('.chart canvas').length === 4"},
		{"#/comparisons", "document.querySelector('main').innerText.includes('None yet')"},
		{"#/webhooks", "document.querySelector('main').innerText.includes('None yet')"},
	} {
		b.visit(screen.fragment)
		b.until(screen.shown)
		b.nameless(screen.fragment)
		for _, scheme := range []string{"light", "dark"} {
			b.as(scheme)
			var bad []string
			b.eval(contrast, &bad)
			for _, text := range bad {
				t.Errorf("%s, %s: %s", screen.fragment, scheme, text)
			}
		}
	}
}
