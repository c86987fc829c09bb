package api

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

// A stored adapter that isn't what its job made never reaches anybody whole:
// they are told so before a byte of it comes.
func TestDamagedAdapterIsNotServed(t *testing.T) {
	r := start(t, nil)
	right := bytes.Repeat([]byte("adapter "), 8_000)
	wrong := bytes.Clone(right)
	wrong[7] = '!'
	id := r.submit(nil)
	j := r.complete(r.begin(id, 1), right)
	get := func() (int, error) {
		resp, err := http.Get(r.url + "/jobs/" + id + "/adapter")
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		n, err := io.Copy(io.Discard, resp.Body)
		return int(n), err
	}
	if n, err := get(); n != len(right) || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	for name, stored := range map[string][]byte{"other bytes": wrong, "shorter": right[:1000], "longer": append(bytes.Clone(right), "more"...)} {
		_, _, err := r.broker.PutAdapter(t.Context(), scu.AdapterKey{Job: id, Attempt: j.Attempt}, bytes.NewReader(stored))
		must(t, err)
		status, _, answer := r.ask("GET", "/jobs/"+id+"/adapter", "")
		if status != 410 || !strings.Contains(answer, `"damaged"`) || strings.Contains(answer, "adapter adapter") {
			t.Errorf("%s: %d %.300s", name, status, answer)
		}
		if seen, err := r.sdk.Status(t.Context(), id); err != nil || !strings.Contains(strings.Join(seen.Warnings, ""), "its adapter is damaged") {
			t.Errorf("%s: the job says %q, %v", name, seen.Warnings, err)
		}
		status, _, body := r.ask("POST", "/jobs/submit", `{"base_model":"bookworm-2m","train_data_path":"`+j.TrainData.ID+`","from_adapter":"`+id+`"}`)
		if status != 410 {
			t.Errorf("%s: a job begins from it: %d %s", name, status, body)
		}
	}
	// The same bytes again take its place.
	_, _, err := r.broker.PutAdapter(t.Context(), scu.AdapterKey{Job: id, Attempt: j.Attempt}, bytes.NewReader(right))
	must(t, err)
	if n, err := get(); n != len(right) || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if seen, err := r.sdk.Status(t.Context(), id); err != nil || strings.Contains(strings.Join(seen.Warnings, ""), "damaged") {
		t.Errorf("mended, the job says %q, %v", seen.Warnings, err)
	}
}
