package main

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/broker/embedded"
	"github.com/shannon-control/scu/kernels/devices"
)

// What is kept of a disk is kept by every role, and of the disk that is written to.
func TestRoomIsOfTheDiskThatIsWrittenTo(t *testing.T) {
	dir := t.TempDir()
	data, other := filepath.Join(dir, "data"), filepath.Join(dir, "other")
	inData := filepath.Join(data, "checkpoints")
	serve := func(p *process) { p.nats = &embedded.Server{} }
	beside := func(p *process) { p.beside = true }
	for _, c := range []struct {
		name    string
		set     Settings
		is      func(*process)
		full    string
		adapter bool // whether there is room for each
		saved   bool
	}{
		{"serve", Settings{}, serve, data, false, true},
		{"serve", Settings{}, serve, inData, true, false},
		{"serve, checkpoints elsewhere", Settings{CheckpointsDir: other}, serve, data, false, true},
		{"serve, checkpoints elsewhere", Settings{CheckpointsDir: other}, serve, other, true, false},
		{"serve with a folder for blobs", Settings{Blobs: "dir:" + other}, serve, data, true, true},
		{"serve with a folder for blobs", Settings{Blobs: "dir:" + other}, serve, other, false, true},
		{"serve with a bucket", Settings{Blobs: "s3://bucket"}, serve, data, true, true},
		{"a trainer beside a serve", Settings{}, beside, data, false, true},
		{"a trainer apart", Settings{Blobs: natsBlobs}, nil, data, true, true},
		{"a trainer apart", Settings{}, nil, inData, true, false},
		{"a trainer apart, checkpoints elsewhere", Settings{CheckpointsDir: other}, nil, other, true, false},
		{"a trainer apart with a folder for blobs", Settings{Blobs: "dir:" + other}, nil, other, false, true},
	} {
		p := &process{set: c.set, log: slog.New(slog.DiscardHandler), disk: func(dir string) (free, size uint64, ok bool) {
			if dir == c.full {
				return keptBytes / 2, 100 * keptBytes, true
			}
			return 50 * keptBytes, 100 * keptBytes, true
		}}
		p.set.Data = data
		if c.is != nil {
			c.is(p)
		}
		tr, err := p.newTrainer(link{}, "one", devices.CPU(1), nil)
		if err != nil {
			t.Fatal(err)
		}
		for what, room := range map[string]struct {
			err  error
			want bool
		}{"an adapter": {tr.Room(1), c.adapter}, "a checkpoint": {tr.CheckpointRoom(1), c.saved}} {
			if (room.err == nil) != room.want || room.err != nil && scu.CodeOf(room.err) != scu.CodeStorage {
				t.Errorf("%s, %s full: %v for %s", c.name, c.full, room.err, what)
			}
		}
	}
}
