package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/trainer/base"
)

func (a *app) dataCommand() *cobra.Command {
	c := &cobra.Command{Use: "data", Short: "Inspect training data before it is used", Args: cobra.ArbitraryArgs, RunE: onlySubcommands}
	c.AddCommand(a.dataCheckCommand())
	return c
}

func (a *app) dataCheckCommand() *cobra.Command {
	var t submission
	var preview, blockSize int
	c := &cobra.Command{
		Use:   "check FILE... --base-model MODEL",
		Short: "Check data files here, without a server",
		Long: `Reads a data file as training would, and says what becomes of it: documents, tokens,
blocks, and every line that would be refused or looks odd. Several files, FILE or
FILE=SHARE, are mixed as scu train mixes them, and each is told for itself. Data that would be refused
ends it with exit code 2, after the report.`,
		Args: cobra.MinimumNArgs(1),
	}
	localFlags(c, &t, true)
	required(c, "base-model")
	c.Flags().IntVar(&blockSize, "block-size", 0, "tokens per block, same as --set block_size; default 4096 or the model's positions")
	c.Flags().IntVar(&preview, "preview", 0, "also show this many blocks token by token; -1 means all")
	c.RunE = a.run(func(ctx context.Context, s Settings, args []string) error {
		t.setInt("block_size", blockSize)
		model, cfg, err := t.local()
		if err != nil {
			return err
		}
		sources, err := localSources(args)
		if err != nil {
			return err
		}
		return withModel(ctx, a, s, model, (*base.Finder).Describe, func(m *base.Model) error {
			defer m.Close()
			check, err := m.CheckSources(ctx, sources, cfg, preview)
			if err != nil {
				return err
			}
			return a.tellCheck(check)
		})
	})
	return c
}

// setInt is --set name=n, where n isn't 0.
func (t *submission) setInt(name string, n int) {
	if n != 0 {
		t.set = append(t.set, name+"="+strconv.Itoa(n))
	}
}

// readable returns a short error if path is missing or not a regular file.
func readable(path string) error {
	info, err := os.Stat(path) // opening a fifo would wait for its other end
	if err == nil && !info.Mode().IsRegular() {
		return scu.Errorf(scu.CodeInvalid, "%s: not a regular file", path).WithHint("name a text or JSONL file")
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	if err == nil {
		return f.Close()
	}
	var e *fs.PathError
	if errors.As(err, &e) {
		err = e.Err
	}
	return scu.Errorf(scu.CodeInvalid, "%s: %w", path, err)
}

// tellCheck prints what became of a data file. The error is that it is refused.
func (a *app) tellCheck(check scu.DataCheck) error {
	var refused error
	if check.Error != nil {
		refused = check.Error
	}
	if a.json {
		return errors.Join(printJSON(a.out, check), refused)
	}
	for _, x := range check.Sources {
		a.tellSource(x, refused == nil)
	}
	a.tellDataReport(check.Report, check.BlockSize, refused == nil)
	if check.EpochTokens > 0 {
		fmt.Fprintf(a.out, "An epoch has %s tokens\n", thousands(check.EpochTokens))
	}
	for i, block := range check.Preview {
		fmt.Fprintf(a.out, "\nBlock %d, tokens that count in the loss as ‹token›, others as (token):\n%s\n", i+1, blockText(block))
	}
	return refused
}

// tellSource prints what became of one of several sources; counted if none is refused.
func (a *app) tellSource(x scu.SourceCheck, counted bool) {
	fmt.Fprintf(a.out, "%s", x.Name)
	if x.Share > 0 {
		fmt.Fprintf(a.out, " (share %g)", x.Share)
	}
	if counted {
		fmt.Fprintf(a.out, ": %s, %s tokens, of which an epoch has %s", thousandsOf(x.Documents, "document"), thousands(x.Tokens), thousands(x.EpochTokens))
	}
	fmt.Fprintln(a.out)
	for _, f := range x.Report.Refused {
		a.tellFindings("refused", f)
	}
	for _, f := range x.Report.Suspicious {
		a.tellFindings("odd", f)
	}
}

// tellDataReport prints what became of a file, or the sums of several; counted if it
// isn't refused.
func (a *app) tellDataReport(r scu.DataReport, blockSize int, counted bool) {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "Format:\t%s\nBytes:\t%s\n", r.Format, thousands(r.Bytes))
	if len(r.Forms) > 0 {
		fmt.Fprintf(w, "Rows:\t%s\n", rowsText(r))
	}
	if counted { // else nothing was counted to the end
		fmt.Fprintf(w, "Documents:\t%s\nBlocks:\t%s of %s tokens\nTokens:\t%s\nPredicted:\t%s\n", thousands(r.Documents),
			thousands(int64(r.Blocks)), thousands(int64(blockSize)), thousands(r.Tokens), thousands(r.Targets))
	}
	w.Flush()
	for _, note := range r.Notes {
		fmt.Fprintf(a.out, "note: %s\n", note)
	}
	for _, f := range r.Refused {
		a.tellFindings("refused", f)
	}
	for _, f := range r.Suspicious {
		a.tellFindings("odd", f)
	}
}

// rowsText tells how many rows of which form there are, and how they are packed.
func rowsText(r scu.DataReport) string {
	var parts []string
	for _, form := range slices.Sorted(maps.Keys(r.Forms)) {
		parts = append(parts, fmt.Sprintf("%s %s", thousands(r.Forms[form]), form))
	}
	text := strings.Join(parts, ", ")
	switch r.Packing {
	case scu.PackRows:
		return text + "; each sees itself alone"
	case scu.PackJoined:
		return text + "; joined: each sees those before it in its block"
	case scu.PackOff:
		return text + "; a block each"
	}
	return text
}

// Of each kind so many lines are shown whole, and so many more by number: thousands
// of one kind must not hide those of another. --json has more of them.
const (
	shownLines = 3
	namedLines = 5
)

// tellFindings prints the lines of one kind.
func (a *app) tellFindings(word string, f scu.DataFindings) {
	shown := f.Lines[:min(shownLines, len(f.Lines))]
	for _, line := range shown {
		fmt.Fprintf(a.out, "line %d: %s: %s\n", line.Line, word, line.Message)
	}
	more := f.Total - int64(len(shown))
	if more == 0 {
		return
	}
	var numbers []string
	for _, line := range f.Lines[len(shown):min(shownLines+namedLines, len(f.Lines))] {
		numbers = append(numbers, strconv.FormatInt(line.Line, 10))
	}
	if more > int64(len(numbers)) {
		numbers = append(numbers, "...")
	}
	fmt.Fprintf(a.out, "and %s more like these (%s): lines %s\n", thousands(more), f.Kind, strings.Join(numbers, ", "))
}

// blockText shows a block's tokens one by one.
func blockText(block []scu.DataToken) string {
	var b strings.Builder
	for _, t := range block {
		text := strconv.Quote(t.Text)
		text = text[1 : len(text)-1]
		if t.Begins {
			b.WriteString("\n")
		}
		if t.Counts {
			b.WriteString("‹" + text + "›")
		} else {
			b.WriteString("(" + text + ")")
		}
	}
	return b.String()
}
