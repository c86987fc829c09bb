package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// How commands print: one JSON line with --json, and otherwise text for people.

func printJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		_, err = fmt.Fprintln(w, string(b))
	}
	return err
}

// done prints the answer to a request that had something done, whose message says what.
func (a *app) done(answer any, message string) error {
	if a.json {
		return printJSON(a.out, answer)
	}
	_, err := fmt.Fprintln(a.out, message)
	return err
}

// newTable begins a table; cells are separated by tabs, and it is printed when it is flushed.
func newTable(w io.Writer, head string) *tabwriter.Writer {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, head)
	return t
}

// printList prints an answer that is a list: as a table with a row for each, or that there
// are none of what.
func printList[T any](a *app, answer any, what, head string, all []T, row func(T) string) error {
	if a.json {
		return printJSON(a.out, answer)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintf(a.out, "No %s found\n", what)
		return err
	}
	t := newTable(a.out, head)
	for _, x := range all {
		fmt.Fprintln(t, row(x))
	}
	return t.Flush()
}
