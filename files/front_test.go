package files

import (
	"context"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
)

func TestFrontSendsOnlyWhatIsKept(t *testing.T) {
	front, store, ctx := open(t), open(t), context.Background()
	f := NewFront(front, store)

	s, err := f.Stage(ctx, "a.txt", strings.NewReader("hello"), 10)
	if err != nil {
		t.Fatal(err)
	}
	id := s.File().ID
	if file, err := f.Stat(ctx, id); err != nil || file.Size != 5 {
		t.Errorf("Stat of a staged file gave %+v, %v", file, err)
	}
	if _, err := f.Local(ctx, id); err != nil {
		t.Error(err)
	}
	if got := left(t, store); len(got) != 0 {
		t.Errorf("the store has %v before Keep", got)
	}
	s.Drop()
	if _, err := f.Stat(ctx, id); scu.CodeOf(err) != scu.CodeNotFound {
		t.Errorf("Stat of a dropped file gave %v", err)
	}

	if s, err = f.Stage(ctx, "a.txt", strings.NewReader("hello"), 10); err != nil {
		t.Fatal(err)
	}
	if err := s.Keep(ctx); err != nil {
		t.Fatal(err)
	}
	s.Drop()
	if got := left(t, front); len(got) != 0 {
		t.Errorf("the front kept %v", got)
	}
	if file, err := f.Stat(ctx, id); err != nil || file.Name != "a.txt" {
		t.Errorf("Stat of a kept file gave %+v, %v", file, err)
	}
	if _, err := store.Local(ctx, id); err != nil {
		t.Error(err)
	}
}
