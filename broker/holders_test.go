package broker

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shannon-control/scu"
)

// Each owner has its own files, under its own names, and what nobody had is the
// administrator's, once.
func TestHolders(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ctx := testContext(t)
	file := func(digit, name string) scu.File {
		return scu.File{ID: strings.Repeat(digit, 64), Name: name, Size: 7, CreatedAt: time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const ada, bob = "ada.l@example.org", "bob"
	for _, f := range []scu.File{file("b", "b.txt"), file("a", "a.txt"), file("a", "again.txt")} {
		must(b.HoldFile(ctx, ada, f))
	}
	must(b.HoldFile(ctx, bob, file("a", "bobs.txt")))
	if got, err := b.HeldFiles(ctx, ada); err != nil || !slices.Equal(got, []scu.File{file("a", "again.txt"), file("b", "b.txt")}) {
		t.Errorf("ada has %+v, %v", got, err)
	}
	if got, err := b.HeldFile(ctx, bob, file("a", "").ID); err != nil || got != file("a", "bobs.txt") {
		t.Errorf("bob has %+v, %v", got, err)
	}
	for _, c := range []struct{ owner, id string }{{bob, file("b", "").ID}, {"", file("a", "").ID}, {ada, "*"}, {ada, ">"}} {
		_, err := b.HeldFile(ctx, c.owner, c.id)
		wantCode(t, err, scu.CodeNotFound)
	}
	lists := 0
	adopt := func() error {
		return b.AdoptFiles(ctx, func(_ context.Context, after string) ([]scu.File, bool, error) {
			lists++
			if after == "" {
				return []scu.File{file("a", "old-a.txt")}, true, nil
			}
			return []scu.File{file("c", "old-c.txt")}, false, nil
		})
	}
	must(adopt())
	must(adopt())
	if got, err := b.HeldFiles(ctx, ""); err != nil || !slices.Equal(got, []scu.File{file("c", "old-c.txt")}) || lists != 2 {
		t.Errorf("the administrator has %+v, %v, after %d lists", got, err, lists)
	}
	must(b.ReleaseFile(ctx, ada, file("a", "").ID))
	must(b.ReleaseFile(ctx, ada, file("a", "").ID))
	if got, err := b.HoldersOf(ctx, file("a", "").ID); err != nil || !slices.Equal(got, []string{bob}) {
		t.Errorf("it is %v's, %v", got, err)
	}
}
