package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/shannon-control/scu"
)

// Exit codes, for scripts. What the service refuses has one for each scu.Code;
// scu help exit-codes prints the table below.
const (
	exitOK           = 0
	exitFailure      = 1
	exitUsage        = 2
	exitJobFailed    = 3
	exitJobCancelled = 4
	exitNotFound     = 5
	exitUnavailable  = 6
	exitUnauthorized = 7
	exitConflict     = 8
	exitInterrupted  = 130
)

// exitMeanings says what each is for, in order.
var exitMeanings = []struct {
	code    int
	meaning string
}{
	{exitOK, "done"},
	{exitFailure, "failed for another reason than those below"},
	{exitUsage, "the command line, a setting, the configuration or the data is wrong: change it"},
	{exitJobFailed, "the job that was waited for failed"},
	{exitJobCancelled, "the job that was waited for was cancelled"},
	{exitNotFound, "no such job or file"},
	{exitUnavailable, "the server, or a part of it, can't be reached now, or takes no more from you for now: try again"},
	{exitUnauthorized, "no API key, a wrong one, or something that the server doesn't allow"},
	{exitConflict, "not in the state for it: the job ended already or isn't done, the folder or port is in use"},
	{exitInterrupted, "interrupted by Ctrl-C"},
}

// exits is the one table from error codes to exit codes; what isn't in it is
// exitFailure.
var exits = map[scu.Code]int{
	scu.CodeInvalid:      exitUsage,
	scu.CodeUnsupported:  exitUsage,
	scu.CodeTooLarge:     exitUsage,
	scu.CodeMemory:       exitUsage, // a smaller job fits
	scu.CodeNotFound:     exitNotFound,
	scu.CodeUnavailable:  exitUnavailable,
	scu.CodeTooMany:      exitUnavailable,
	scu.CodeUnauthorized: exitUnauthorized,
	scu.CodeForbidden:    exitUnauthorized,
	scu.CodeConflict:     exitConflict,
	scu.CodeCancelled:    exitJobCancelled,
}

// jobFailed is the error of a job that was waited for and failed. The cause says
// why; whatever its code, the command ends with exitJobFailed.
type jobFailed struct{ cause *scu.Error }

func (e *jobFailed) Error() string { return e.cause.Error() }

// exitCode is what the program ends with after err.
func exitCode(err error) int {
	var failed *jobFailed
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &failed):
		return exitJobFailed
	case errors.Is(err, context.Canceled):
		return exitInterrupted
	}
	if code, ok := exits[scu.CodeOf(err)]; ok {
		return code
	}
	return exitFailure
}

// printError says on w what went wrong and what to do: for people, or as one JSON
// object.
func printError(w io.Writer, err error, asJSON bool) {
	all := slices.Clone(scu.AllErrors(err))
	var failed *jobFailed
	if errors.As(err, &failed) {
		all = scu.Errors{failed.cause}
	}
	if errors.Is(err, context.Canceled) {
		all = scu.Errors{scu.Errorf(scu.CodeCancelled, "interrupted")}
	}
	for i, e := range all {
		all[i] = e.WithHint("%s", inFlags(e.Hint))
	}
	if asJSON {
		answer := struct {
			Error  *scu.Error `json:"error"`
			Errors scu.Errors `json:"errors,omitempty"`
			Exit   int        `json:"exit_code"`
		}{Error: all[0], Exit: exitCode(err)}
		if len(all) > 1 {
			answer.Errors = all
		}
		b, _ := json.Marshal(answer) // plain data
		fmt.Fprintln(w, string(b))
		return
	}
	for _, e := range all {
		message := e.Message
		if e.Field != "" {
			message = e.Field + ": " + message
		}
		fmt.Fprintln(w, "scu:", message)
		if e.Hint != "" {
			fmt.Fprintln(w, "     "+e.Hint)
		}
	}
}

// exitHelp is the text of scu help exit-codes.
func exitHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes, for scripts:\n\n")
	for _, m := range exitMeanings {
		fmt.Fprintf(&b, "%4d  %s\n", m.code, m.meaning)
	}
	return b.String()
}
