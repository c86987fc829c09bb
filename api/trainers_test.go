package api

import (
	"testing"

	"github.com/shannon-control/scu"
)

// Trainers are listed by name, each with what it last said of itself.
func TestTrainers(t *testing.T) {
	r := start(t, nil)
	if status, _, body := r.ask("GET", "/trainers", ""); status != 200 || body != `{"trainers":[],"count":0}`+"\n" {
		t.Errorf("without trainers: %d %s", status, body)
	}
	must(t, r.broker.Announce(t.Context(), scu.Presence{Trainer: "b", Classes: []string{"cpu"}, Devices: []string{"cpu, 8 cores"}}))
	must(t, r.broker.Announce(t.Context(), scu.Presence{Trainer: "a", Classes: []string{"gpu"}, Job: "00000000000000aa", Memory: 79 << 30, Devices: []string{"cuda:0, NVIDIA H100 80GB HBM3, 79 GB"}}))
	list, err := r.sdk.Trainers(t.Context())
	must(t, err)
	if list.Count != 2 || len(list.Trainers) != 2 || list.Trainers[0].Trainer != "a" || list.Trainers[1].Trainer != "b" {
		t.Fatalf("%+v", list)
	}
	if a := list.Trainers[0]; a.Job != "00000000000000aa" || a.Memory != 79<<30 || len(a.Devices) != 1 || a.Seen.IsZero() {
		t.Errorf("%+v", a)
	}
}
