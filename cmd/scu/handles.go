package main

import (
	"log/slog"

	"github.com/shannon-control/scu"
)

// fewHandles is how many open files are few: the API alone takes 512 connections, and each
// stream, segment and data file is one more.
const fewHandles = 4096

// handleAdvice says what to do if they are few. Go has raised the soft limit by itself.
const handleAdvice = "raise the hard limit: ulimit -Hn, LimitNOFILE= of systemd, ulimits of Compose"

// warnOfHandles tells that the process may open few files.
func warnOfHandles(log *slog.Logger) {
	if n, ok := handleLimit(); ok && n < fewHandles {
		err := scu.Errorf(scu.CodeStorage, "at most %d files may be open", n).WithHint(handleAdvice)
		log.Warn("with many clients the service will refuse connections and stop storing", "error", err)
	}
}
