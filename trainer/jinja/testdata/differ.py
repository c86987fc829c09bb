"""Templates made at random, and what Jinja2 makes of them as Transformers sets it up:

    python trainer/jinja/testdata/differ.py 5000 1 > cases.jsonl
    go test ./trainer/jinja -run Differ -differ $PWD/cases.jsonl

The arguments are how many, and the seed. The first line are the variables, each other one a
template and its text, or null where it is refused.
"""
import json
import random
import re
import signal
import sys
import warnings

import reference

VARIABLES = {
    "messages": [
        {"role": "system", "content": "Be  kind. "},
        {"role": "user", "content": "Où? 漢🙂\n\nline", "name": "ann"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"type": "function", "function": {"name": "f", "arguments": {"x": 1, "y": [1.5, None, True]}}},
            {"type": "function", "function": {"name": "g", "arguments": "{\"x\": 1}"}}]},
        {"role": "tool", "content": [{"type": "text", "text": "sun"}, {"type": "image"}]},
        {"role": "assistant", "content": "<think>\nhm\n</think>\n\nIt's <b>sunny</b>.", "meta": {}},
    ],
    "s": "Hello, Wörld", "t": " \ta b\tc\n", "n": 3, "z": 0, "f": 2.5, "yes": True, "no": False, "nil": None, "e": "", "l": [3, 1, 2],
    "w": ["b", "A", "c", "a"], "d": {"a": 1, "k": "v", "items": [1]}, "ee": [], "dd": {}, "mix": [1, "a", None, 2.0, True, [1]],
}

NAMES = list(VARIABLES) + ["u", "i", "m", "loop", "ns", "mac"]
ATTRIBUTES = ["role", "content", "name", "tool_calls", "meta", "a", "k", "x", "items", "text", "type", "function", "arguments",
              "index", "first", "last", "length"]
STRINGS = ["", "a", "b", "role", "user", "assistant", ",", " ", "\\n", "é", "%s", "x'y", "<", "ab ab", "1", "2.5", "k", "content", "-"]
FILTERS = ["abs", "capitalize", "count", "d", "default('x')", "default('x', true)", "dictsort", "e", "first", "float", "int", "items",
           "join", "join(',')", "join(', ', attribute='role')", "last", "length", "list", "lower", "map('upper')", "map(attribute='role')",
           "map(attribute='content.0')", "map('string')", "max", "min", "reject", "reject('none')", "rejectattr('content', 'none')",
           "rejectattr('name')", "replace('a', 'bb')", "replace('b', '', 1)", "reverse", "round", "round(1)", "safe", "select",
           "select('string')", "select('gt', 1)", "selectattr('role', 'equalto', 'user')", "selectattr('name', 'defined')", "selectattr('tool_calls')",
           "sort", "sort(reverse=true)", "sort(attribute='role')", "sort(case_sensitive=true)", "string", "sum", "title", "tojson", "tojson(indent=2)", "tojson(sort_keys=true)",
           "tojson(ensure_ascii=true)", "trim", "trim('a')", "unique", "upper", "wordcount", "indent", "indent(2, true)", "truncate(6)",
           "center(9)", "batch(2)", "slice(2)", "groupby('role')", "map('default', 'q')", "map('length')", "format('a')", "attr('a')", "trim|length", "list|length", "list|first"]
TESTS = ["defined", "undefined", "none", "string", "mapping", "sequence", "iterable", "number", "integer", "float", "boolean", "true", "false",
         "odd", "even", "lower", "upper", "callable", "divisibleby 2", "divisibleby(3)", "equalto 1", "eq('a')", "ne 2", "lt 3", "gt(1)", "in [1, 'a']", "in 'abc'",
         "sameas none", "sameas(true)", "escaped", "filter", "test"]
METHODS = ["upper()", "lower()", "strip()", "lstrip()", "rstrip('\\n')", "split()", "split(' ')", "split(',', 1)", "rsplit(' ', 1)", "splitlines()",
           "startswith('a')", "endswith('\\n')", "replace('a', 'b')", "replace(' ', '', 1)", "find('l')", "index('l')", "count('l')", "title()", "capitalize()",
           "join(w)", "join(['a', 'b'])", "items()", "keys()", "values()", "get('a')", "get('k', 2)", "get('role')", "format(1)", "isdigit()", "isalpha()", "islower()",
           "zfill(5)", "center(7, '*')", "partition(' ')", "removeprefix('a')", "swapcase()", "copy()", "strip().split('\\n')[-1]", "split('</think>')[0]",
           "split('</think>')[-1].lstrip('\\n')", "count(1)", "index(1)", "append(1)", "nope()", "ljust(4)", "rjust(4, '0')"]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "~", "+", "==", "!=", "<", ">=", "in", "not in", "and", "or"]
FORMATS = ["'%s'", "'%5s|%-4s'", "'%d'", "'%05.1f'", "'%r'", "'%x'", "'{} {}'", "'%s %s'", "'%.3g'", "'%+d'", "'%e'", "'%5.2s'"]


class Maker:
    def __init__(self, r):
        self.r = r

    def pick(self, options):
        return self.r.choice(options)

    def constant(self):
        k = self.r.random()
        if k < .4:
            return "'" + self.pick(STRINGS).replace("'", "\\'") + "'"
        if k < .7:
            return str(self.pick([0, 1, 2, 3, 7, -1, 10]))
        if k < .8:
            return self.pick(["1.0", "0.5", "1e3", "2.25", "1e16", "1e-7"])
        return self.pick(["true", "false", "none", "[]", "{}", "()", "True", "None"])

    def expression(self, depth=3):
        k = self.r.random()
        if depth == 0 or k < .12:
            return self.pick(NAMES) if self.r.random() < .65 else self.constant()
        d = depth - 1
        e = lambda: self.expression(d)
        if k < .24:
            return f"{e()}.{self.pick(ATTRIBUTES)}"
        if k < .32:
            return f"{e()}[{self.pick([e(), '0', '-1', '1', repr(self.pick(ATTRIBUTES))])}]"
        if k < .37:  # Jinja2 takes slices of constants that have none
            of = e()
            if not re.match(r"[a-zA-Z(\[']", of) or re.match(r"(?i)true|false|none", of):
                of = "s"
            return f"{of}[{self.pick(['1:', ':-1', '::-1', ':2', '1:3', '::2', '-2:', e() + ':'])}]"
        if k < .52:
            return f"{e()}|{self.pick(FILTERS)}"
        if k < .60:
            return f"{e()} is {self.pick(['', '', 'not '])}{self.pick(TESTS)}"
        if k < .70:
            return f"{e()}.{self.pick(METHODS)}"
        if k < .82:
            return f"{e()} {self.pick(BINARY)} {e()}"
        if k < .86:
            return f"({e()} {self.pick(BINARY)} {e()})"
        if k < .89:
            return f"({e()} if {e()} else {e()})"
        if k < .90:
            return f"{e()} if {e()}"
        if k < .92:
            return "[" + ", ".join(e() for _ in range(self.r.randrange(4))) + "]"
        if k < .94:
            return "{" + ", ".join(f"'{self.pick('abk')}': {e()}" for _ in range(self.r.randrange(3))) + "}"
        if k < .95:
            return f"({e()}, {e()})"
        if k < .97:
            return self.pick([f"not {e()}", f"-{e()}", f"+{e()}"])
        if k < .985:
            return f"{self.pick(FORMATS)} % {self.pick([e(), f'({e()}, {e()})'])}"
        return self.pick([f"range({e()})|list", f"range(1, {e()})", f"dict(a={e()})", f"mac({e()})", f"namespace(a={e()}).a", f"{self.pick(FORMATS)}.format({e()}, {e()})",
                          f"cycler(1, {e()}).next()", "strftime_now('%d %b %Y')"])

    def space(self):
        return self.pick(["", "", "", " ", "\n", "  \n ", "\n  ", "x", " y\n", "\t", "text "])

    def tag(self, inside):
        return "{%" + self.pick(["", "", "-", "+"]) + " " + inside + " " + self.pick(["", "", "-", "+"]) + "%}"

    def body(self, depth):
        return "".join(self.statement(depth) + self.space() for _ in range(self.r.randrange(1, 4)))

    def statement(self, depth=2):
        k = self.r.random()
        e = self.expression
        if depth == 0 or k < .4:
            return "{{" + self.pick(["", "-"]) + " " + e() + " " + self.pick(["", "-"]) + "}}"
        d = depth - 1
        b = lambda: self.space() + self.body(d)
        if k < .52:
            other = self.tag("else") + b() if self.r.random() < .5 else ""
            if self.r.random() < .3:
                other = self.tag("elif " + e()) + b() + other
            return self.tag("if " + e()) + b() + other + self.tag("endif")
        if k < .70:
            target = self.pick(["i", "m", "i", "m", "i, j", "i, m"])
            over = self.pick(["messages", "messages", "l", "w", "d.items()", "d", "messages[1:]", "messages|reverse", "range(3)", "s", e()])
            if target.find(",") > 0:
                over = self.pick(["d.items()", "d|items", "[[1, 2], [3, 4]]", "messages|groupby('role')", "dd.items()", e()])
            extra = self.pick(["", "", " if " + e(1)])
            stop = self.pick(["", "", "", self.tag("if " + e(1)) + self.tag(self.pick(["break", "continue"])) + self.tag("endif")])
            other = self.tag("else") + b() if self.r.random() < .2 else ""
            at = self.pick(["", "", "{{ loop.index }}", "{{ loop.last }}", "{{ loop.revindex0 }}", "{{ loop.previtem }}", "{{ loop.cycle('a', 'b') }}", "{{ loop.nextitem is defined }}"])
            return self.tag(f"for {target} in {over}{extra}") + at + stop + b() + other + self.tag("endfor")
        if k < .80:
            return self.tag(f"set {self.pick(['u', 'i', 'x', 'n'])} = {e()}")
        if k < .83:
            return self.tag(f"set {self.pick(['u', 'x'])}{self.pick(['', ' | upper', ' | trim'])}") + b() + self.tag("endset")
        if k < .87:
            return self.tag("set ns = namespace(a=" + e(1) + ")") + self.tag("for i in l") + self.tag("set ns.a = " + e(2)) + self.tag("endfor") + "{{ ns.a }}"
        if k < .91:
            return self.tag(self.pick(["macro mac(i)", "macro mac(i, m=1)", "macro mac(i='q')", "macro mac()"])) + b() + self.tag("endmacro") + "{{ mac(" + e(1) + ") }}"
        if k < .93:
            return self.tag("macro mac()") + "<{{ caller() }}>" + self.tag("endmacro") + self.tag("call mac()") + b() + self.tag("endcall")
        if k < .95:
            return self.tag("filter " + self.pick(["upper", "trim", "replace('a', 'b')", "indent"])) + b() + self.tag("endfilter")
        if k < .97:
            return self.tag(f"with u = {e()}, i = {e()}") + b() + self.tag("endwith")
        if k < .985:
            return self.tag("generation") + b() + self.tag("endgeneration")
        return self.pick([self.tag("raw") + self.space() + "{{ x }}" + self.space() + self.tag("endraw"), "{#" + self.pick(["", "-"]) + " c " + self.pick(["", "-", "+"]) + "#}"])

    def template(self):
        if self.r.random() < .5:
            return "{{ " + self.expression(self.r.randrange(1, 5)) + " }}"
        return self.space() + self.body(2)


# What shows where in memory it lies, and what the Go code says that it does otherwise.
UNLIKE = re.compile(r"(?i)0x[0-9a-f]{8}|(generator|iterator|_list) object|<built-in|<bound method|<function|<class|b'|Markup|lipsum")


def render(source):
    def late(*_):
        raise TimeoutError
    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        return reference.render(source, json.loads(json.dumps(VARIABLES)))
    except MemoryError:
        raise TimeoutError
    except TimeoutError:
        raise
    except Exception:
        return None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    n, seed = int(sys.argv[1]), int(sys.argv[2])
    print(json.dumps(VARIABLES))
    made = kept = refused = 0
    while kept < n:
        made += 1
        source = Maker(random.Random(f"{seed} {made}")).template()
        try:
            out = render(source)
        except TimeoutError:
            continue
        if out is None and made % 4:
            continue  # most that is made at random is refused; some of it is enough
        if out is not None and (UNLIKE.search(out) or len(out) > 100_000):
            continue
        kept += 1
        refused += out is None
        print(json.dumps([source, out]))
    print(f"{kept} templates of {made} made, {refused} of them refused", file=sys.stderr)
