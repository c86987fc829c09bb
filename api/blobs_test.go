package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/files"
	"github.com/shannon-control/scu/scrub"
)

// withBlobs is a rig whose stored blobs are verified when it is asked.
func withBlobs(t *testing.T) *rig {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	var r *scrub.Scrubber
	rig := start(t, func(o *Options) {
		adapters := o.Broker.(interface{ Blobs() scu.Blobs }).Blobs()
		o.Blobs = map[scu.BlobKind]scu.Blobs{scu.FileBlob: o.Files.(*files.Store).Blobs(), scu.AdapterBlob: adapters}
		r = scrub.New(scrub.Scrubber{Reports: o.Broker, Store: o.Store, Blobs: o.Blobs, Rate: 1 << 40, Log: slog.New(slog.DiscardHandler), Now: time.Now})
		o.Verify = r.Ask
	})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return rig
}

func sumOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Damage that the verification finds is told of jobs and files, in the list, in health and in
// the metrics, by each API; the right bytes mend all blobs that should have them, others none.
func TestDamagedBlobs(t *testing.T) {
	r := withBlobs(t)
	right := bytes.Repeat([]byte("adapter "), 8_000)
	one, two := r.submit(nil), r.submit(nil)
	j := r.complete(r.begin(one, 1), right)
	r.complete(r.begin(two, 1), right)
	must(t, r.server.upToDate(t.Context()))
	if report, err := r.sdk.VerifyBlobs(t.Context()); err != nil || report.Count != 0 || report.Verification.Blobs != 3 {
		t.Fatalf("%+v, %v", report, err)
	}
	for _, id := range []string{one, two} {
		_, _, err := r.broker.PutAdapter(t.Context(), scu.AdapterKey{Job: id, Attempt: 1}, strings.NewReader("others"))
		must(t, err)
	}
	for _, path := range r.stored() {
		must(t, os.Chmod(path, 0o600))
		must(t, os.WriteFile(path, []byte("others"), 0o600))
	}
	report, err := r.sdk.VerifyBlobs(t.Context())
	if err != nil || report.Count != 3 || report.Damaged[0].SHA256 != sumOf(right) {
		t.Fatalf("%+v, %v", report, err)
	}
	must(t, r.server.damaged.look(t.Context())) // as it does every few seconds
	seen, err := r.sdk.Status(t.Context(), one)
	if all := strings.Join(seen.Warnings, "; "); err != nil || !strings.Contains(all, "its adapter is damaged") || !strings.Contains(all, "its file "+j.TrainData.ID+" is damaged") {
		t.Errorf("the job says %q, %v", all, err)
	}
	if list, err := r.sdk.Files(t.Context(), "", 10); err != nil || len(list.Files) != 1 || !list.Files[0].Damaged {
		t.Errorf("the files: %+v, %v", list, err)
	}
	if h, err := r.sdk.Health(t.Context()); err != nil || len(h.Warnings) != 1 || !strings.Contains(h.Warnings[0], "3 stored blobs are damaged") {
		t.Errorf("health: %+v, %v", h, err)
	}
	if _, _, page := r.ask("GET", "/metrics", ""); !strings.Contains(page, `scu_damaged_blobs{kind="adapters"} 2`) || !strings.Contains(page, `scu_damaged_blobs{kind="files"} 1`) || strings.Contains(page, "scu_blobs_verified_timestamp_seconds 0") {
		t.Errorf("metrics: %s", page)
	}

	wrong := writeFile(t, t.TempDir(), "wrong.zip", "something else")
	if _, err := r.sdk.PutBlob(t.Context(), wrong, nil); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("other bytes: %v", err)
	}
	status, _, body := r.ask("PUT", "/blobs/"+sumOf(right), "not these", "Content-Type", "application/octet-stream")
	r.refused(t, status, body, http.StatusUnprocessableEntity, scu.CodeInvalid, "")
	mended, err := r.sdk.PutBlob(t.Context(), writeFile(t, t.TempDir(), "copy.zip", string(right)), nil)
	if err != nil || mended.Count != 2 {
		t.Fatalf("mended %+v, %v", mended, err)
	}
	for _, id := range []string{one, two} {
		if status, _, body := r.ask("GET", "/jobs/"+id+"/adapter", ""); status != 200 || body != string(right) {
			t.Errorf("the adapter: %d, %d bytes", status, len(body))
		}
	}
	if _, err := r.sdk.UploadFile(t.Context(), filepath.Join(r.data, "train.txt"), nil); err != nil {
		t.Fatal(err)
	}
	if report, err := r.sdk.Blobs(t.Context()); err != nil || report.Count != 0 {
		t.Errorf("after the upload: %+v, %v", report, err)
	}
	if report, err := r.sdk.VerifyBlobs(t.Context()); err != nil || report.Count != 0 {
		t.Errorf("at the end: %+v, %v", report, err)
	}
	if seen, err := r.sdk.Status(t.Context(), one); err != nil || strings.Contains(strings.Join(seen.Warnings, ""), "damaged") {
		t.Errorf("mended, the job says %q, %v", seen.Warnings, err)
	}
}

// What one API finds damaged when it is read, the others know.
func TestDamageIsSharedByAPIs(t *testing.T) {
	r := start(t, nil)
	id := r.submit(nil)
	r.complete(r.begin(id, 1), []byte("right"))
	_, _, err := r.broker.PutAdapter(t.Context(), scu.AdapterKey{Job: id, Attempt: 1}, strings.NewReader("wrong"))
	must(t, err)
	if status, _, body := r.ask("GET", "/jobs/"+id+"/adapter", ""); status != 410 {
		t.Errorf("%d %s", status, body)
	}
	other := newDamaged(r.broker, r.server.log)
	must(t, other.look(t.Context()))
	j, _, err := r.broker.Job(t.Context(), id)
	must(t, err)
	if all := other.warnings(j); len(all) != 1 || !strings.Contains(all[0], "its adapter") {
		t.Errorf("another API says %q", all)
	}
}

// A job says of each thing once that it is damaged: of a file that it reads as two, and of states of
// its run, which have no names of their own.
func TestDamageIsToldOnce(t *testing.T) {
	file, id := scu.File{ID: sumOf(nil)}, scu.NewJobID()
	d := newDamaged(nil, nil)
	for _, key := range []scu.BlobKey{{Kind: scu.FileBlob, Name: file.ID}, {Kind: scu.CheckpointBlob, Name: id + ".run.1"}, {Kind: scu.CheckpointBlob, Name: id + ".run.2"}} {
		d.found[key] = true
	}
	j := scu.Job{ID: id, Status: scu.Running, TrainData: file, ValData: &file, Warnings: []string{"of its own"}}
	if all := d.warnings(j); len(all) != 3 {
		t.Errorf("%q", all)
	}
}

// Who asks while all blobs are being read waits for that: they aren't read once more after it.
// Meanwhile it stays known when all had been read last.
func TestVerifyingOnceIsEnough(t *testing.T) {
	asked := 0
	r := start(t, func(o *Options) { o.Verify = func() { asked++ } })
	before := time.Unix(1_000_000_000, 0)
	running := scu.Verification{BegunAt: time.Now(), SeenAt: time.Now(), Before: &before, Kind: scu.FileBlob}
	revision, err := r.broker.UpdateVerification(t.Context(), running, 0)
	must(t, err)
	if status, _, body := r.ask("POST", "/blobs/verify", ""); status != 200 || asked != 0 {
		t.Errorf("while they are read: %d %s, asked %d times", status, body, asked)
	}
	must(t, r.server.damaged.look(t.Context())) // as it does every few seconds
	if _, _, page := r.ask("GET", "/metrics", ""); !strings.Contains(page, "scu_blobs_verified_timestamp_seconds 1e+09") {
		t.Errorf("metrics: %s", page)
	}
	ended := running
	ended.EndedAt = &running.SeenAt
	_, err = r.broker.UpdateVerification(t.Context(), ended, revision)
	must(t, err)
	if status, _, body := r.ask("POST", "/blobs/verify", ""); status != 200 || asked != 1 {
		t.Errorf("afterwards: %d %s, asked %d times", status, body, asked)
	}
}
