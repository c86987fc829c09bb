package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/store"
)

// What a user sees while a part of the service is away: health names it, the process is
// alive, and what the log alone can tell is told.
func TestPartsThatAreAway(t *testing.T) {
	healthy := func(r *rig, problems ...string) {
		t.Helper()
		for _, path := range []string{"/health", "/readyz"} {
			status, _, body := r.ask(http.MethodGet, path, "")
			if (status == 200) != (len(problems) == 0) {
				t.Errorf("%s gives %d %s", path, status, body)
			}
			for _, p := range problems {
				if !strings.Contains(body, `"`+p+`"`) {
					t.Errorf("%s doesn't name the %s: %s", path, p, body)
				}
			}
		}
		if status, _, body := r.ask(http.MethodGet, "/livez", ""); status >= 300 {
			t.Errorf("/livez gives %d %s", status, body)
		}
	}
	t.Run("the database", func(t *testing.T) {
		r := start(t, nil)
		healthy(r)
		id := r.submitted(t)
		j := r.begin(id, 10)
		r.step(j, 4)
		must(t, r.broker.FlushMetrics(t.Context()))
		r.stop()
		must(t, r.server.o.Store.(store.Store).Close())
		healthy(r, "database")
		status, err := r.sdk.Status(t.Context(), id)
		if err != nil || status.Status != scu.Running || status.Step != 5 || status.ProgressPercent != 50 {
			t.Errorf("the status is %+v, %v", status, err)
		}
		if _, _, err := r.broker.Cancel(t.Context(), id); err != nil {
			t.Error(err)
		}
	})
	t.Run("the projector", func(t *testing.T) {
		r := start(t, func(o *Options) { o.patience = healthPatience })
		r.stop()
		r.submitted(t)
		healthy(r, "projector")
	})
	t.Run("NATS", func(t *testing.T) {
		r := start(t, nil)
		r.broker.Close()
		healthy(r, "log and queue", "projector")
	})
}
