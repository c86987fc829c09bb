//go:build unix

// Command cluster starts the processes of compose.yaml without a container engine: the
// same roles with the same commands and settings, a real nats-server and a real
// PostgreSQL, each in a folder of its own, on loopback.
//
//	go run ./scripts/cluster            # until Ctrl-C; prints the API's address and key
//
// It reads compose.yaml itself, so the two can't drift apart. What a container has and a
// process hasn't is translated: host names become loopback addresses, /run/secrets and
// /data folders of the cluster's.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	files := flag.String("files", "compose.yaml", "the services, and what is laid over them: compose.yaml,compose.cluster.yaml")
	scu := flag.String("scu", "bin/scu", "the program; make build makes it")
	nats := flag.String("nats-server", "", "NATS server; by default the one of go.mod is built")
	dir := flag.String("dir", "", "folder of everything; by default a temporary one, deleted at the end")
	flag.Parse()
	if *dir == "" {
		var err error
		if *dir, err = os.MkdirTemp("", "scu-cluster-"); err != nil {
			return err
		}
		defer os.RemoveAll(*dir)
	}
	c, err := start(ctx, options{files: strings.Split(*files, ","), dir: *dir, scu: *scu, nats: *nats})
	if err != nil {
		return err
	}
	defer c.stop()
	for _, api := range c.named("api") {
		fmt.Printf("SCU_API_URL=%s\n", c.apiURL(api))
	}
	fmt.Printf("SCU_API_KEY_FILE=%s\n", c.secret("api-key"))
	select {
	case <-ctx.Done():
		return nil
	case err := <-c.failed:
		return err
	}
}
