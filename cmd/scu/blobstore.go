package main

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/blobs/folder"
	"github.com/shannon-control/scu/blobs/s3"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/scrub"
)

// natsBlobs is the setting that keeps all blobs in NATS, and dirBlobs begins one that keeps
// them in a folder.
const (
	natsBlobs = "nats"
	dirBlobs  = "dir:"
)

// blobsDir is the folder that blobs are kept in, if they are.
func (s *Settings) blobsDir() (path string, ok bool) { return strings.CutPrefix(s.Blobs, dirBlobs) }

// checkBlobs refuses a setting that names no place, and a retention policy that isn't one.
func (s *Settings) checkBlobs() error {
	path, isDir := s.blobsDir()
	switch {
	case s.Blobs == "", s.Blobs == natsBlobs, isDir && path != "":
	case strings.HasPrefix(s.Blobs, "s3:"):
		if _, _, err := s3.ParseURL(s.Blobs); err != nil {
			return err
		}
	default:
		return scu.Errorf(scu.CodeInvalid, "--blobs (SCU_BLOBS) must be nats, dir:PATH or s3://bucket/prefix")
	}
	if s.Blobs != "" && s.FilesDir != "" {
		return scu.Errorf(scu.CodeInvalid, "--blobs and --files-dir both say where files are kept").WithHint("give one of them")
	}
	if (s.S3AccessKey == "") != (s.S3SecretKey == "") {
		return scu.Errorf(scu.CodeInvalid, "of --s3-access-key and --s3-secret-key one is missing")
	}
	_, err := scu.ParseRetention(s.Keep)
	return err
}

// openBlobs opens the storage that the setting names, if it isn't NATS.
func (p *process) openBlobs(ctx context.Context) error {
	if path, ok := p.set.blobsDir(); ok {
		b, err := folder.Open(path)
		if err == nil {
			p.blobs = b
		}
		return err
	}
	if !strings.HasPrefix(p.set.Blobs, "s3:") {
		return nil
	}
	bucket, prefix, err := s3.ParseURL(p.set.Blobs)
	if err != nil {
		return err
	}
	return p.patiently(ctx, func() error {
		b, err := s3.Open(ctx, s3.Options{
			Endpoint: p.set.S3Endpoint, Region: p.set.S3Region, Bucket: bucket, Prefix: prefix,
			AccessKey: p.set.S3AccessKey, SecretKey: p.set.S3SecretKey, Dir: p.set.within("", "cache/s3"),
		})
		if err == nil {
			p.blobs = b
		}
		return err
	})
}

// openFiles opens the storage of files.
func (p *process) openFiles() (*files.Store, error) { return p.filesOf(p.broker) }

// filesOf opens the storage of files, where it is NATS by whoever reads that.
func (p *process) filesOf(nats interface{ Objects() scu.Blobs }) (*files.Store, error) {
	copies := p.set.within("", "cache/files")
	if path, ok := p.set.blobsDir(); ok {
		return files.New(p.blobs, filepath.Join(path, string(scu.FileBlob), "aside")) // on the same disk
	}
	if p.blobs != nil {
		return files.New(p.blobs, copies)
	}
	// Roles that share a disk keep files in a folder there.
	dir := p.set.FilesDir
	if dir == "" && p.nats != nil && p.set.Blobs != natsBlobs {
		dir = p.set.within("", "files")
	}
	if dir != "" {
		return files.Open(dir)
	}
	return files.New(nats.Objects(), copies)
}

// sharedCheckpoints is where trainers keep checkpoints for each other, beside their
// folder; nil if they don't.
func (p *process) sharedCheckpoints(natsOf interface{ Objects() scu.Blobs }) scu.Blobs {
	if p.set.Blobs == natsBlobs {
		return natsOf.Objects()
	}
	return p.blobs
}

// scrubber reads all stored blobs through.
func (p *process) scrubber(f *files.Store) *scrub.Scrubber {
	kept := map[scu.BlobKind]scu.Blobs{scu.FileBlob: f.Blobs(), scu.AdapterBlob: p.broker.Blobs()}
	if shared := p.sharedCheckpoints(p.broker); shared != nil {
		kept[scu.CheckpointBlob] = shared
	}
	return scrub.New(scrub.Scrubber{Reports: p.broker, Store: p.store, Blobs: kept, Every: p.set.VerifyEvery, Rate: p.set.VerifyRate,
		Log: p.log, Now: time.Now})
}
