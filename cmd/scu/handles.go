package main

import (
	"log/slog"

	"github.com/shannon-control/scu"
)

// fewHandles is how many open files are few: the API alone takes 512 connections, and each
// stream, segment and data file is one more.
const fewHandles = 4096

// warnOfHandles tells that the process may open few files. Go has raised its own limit to
// the most that it may by now.
func warnOfHandles(log *slog.Logger) {
	if n, ok := handleLimit(); ok && n < fewHandles {
		err := scu.Errorf(scu.CodeStorage, "at most %d files may be open", n).WithHint("raise the hard limit: ulimit -Hn, LimitNOFILE= of systemd, ulimits of Compose")
		log.Warn("with many clients the service will refuse connections and stop storing", "error", err)
	}
}
