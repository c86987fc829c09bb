// Command river measures how fast River (github.com/riverqueue/river) enqueues jobs in a
// PostgreSQL database: one by one from 16 clients, and in batches of 500 from one. It prints
// a line of JSON for scripts/load, whose -river option runs it on its own server. River is a
// module's dependency of this folder alone.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
	"golang.org/x/sync/errgroup"
)

const (
	clients   = 16
	batchSize = 500
)

// job has about as many bytes as a job of scu's.
type job struct {
	Config string `json:"config"`
}

func (job) Kind() string { return "load" }

func main() {
	database := flag.String("database", "", "URL of an empty PostgreSQL database")
	n := flag.Int("n", 20_000, "jobs of each kind")
	bytes := flag.Int("bytes", 1600, "bytes of a job")
	flag.Parse()
	if err := run(context.Background(), *database, *n, *bytes); err != nil {
		fmt.Fprintln(os.Stderr, "river:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, database string, n, bytes int) error {
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return err
	}
	config.MaxConns = clients
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return err
	}
	defer pool.Close()
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	client, err := river.NewClient(driver, &river.Config{}) // inserts only
	if err != nil {
		return err
	}
	args := job{Config: string(slices.Repeat([]byte("x"), bytes))}
	single, err := singles(ctx, client, args, n)
	if err != nil {
		return err
	}
	batched, inBatches, err := batches(ctx, client, args, n)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]float64{
		"single": float64(n) / single.Seconds(), "batch": float64(inBatches) / batched.Seconds(), "batch_jobs": float64(inBatches),
	})
}

func singles(ctx context.Context, client *river.Client[pgx.Tx], args job, n int) (time.Duration, error) {
	var g errgroup.Group
	begin := time.Now()
	for k := range clients {
		g.Go(func() error {
			for i := k; i < n; i += clients {
				if _, err := client.Insert(ctx, args, nil); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return time.Since(begin), err
}

func batches(ctx context.Context, client *river.Client[pgx.Tx], args job, n int) (took time.Duration, jobs int, err error) {
	batch := slices.Repeat([]river.InsertManyParams{{Args: args}}, min(batchSize, n))
	begin := time.Now()
	for range max(1, n/batchSize) {
		if _, err := client.InsertManyFast(ctx, batch); err != nil {
			return 0, 0, err
		}
		jobs += len(batch)
	}
	return time.Since(begin), jobs, nil
}
