package web_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// A webhook is added, tested, told of a job, and removed, each try with its answer; one at a
// private address is refused in words. That the server was gone is forgotten once it is back.
func TestWebhooks(t *testing.T) {
	told := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	t.Cleanup(told.Close)
	s := serve(t, "SCU_ALLOW_PRIVATE_URLS=true")
	b := open(t, s, 1280, 900)
	b.visit("#/webhooks")
	b.says("main", "None yet")
	b.set("url", told.URL+"/hook")
	b.clickText("Add")
	b.says("main", "whsec_")
	b.says("main", "it isn't shown again")
	b.clickText("Send a test")
	b.says(".deliveries tr", "delivered 204")
	s.submit("told of", 1, 0.05)
	b.says(".deliveries tr", "completed")
	b.until("!!document.querySelector('.deliveries a[href^=\"#/jobs/\"]')")
	told.Close()
	b.clickText("Send a test")
	b.says(".deliveries tr", "refused the connection")
	b.nameless("webhooks")
	b.shot("webhooks")
	b.size(390, 844)
	b.fits("webhooks at 390 px")
	b.shot("webhooks-390")
	b.allow("net::ERR_") // of what is tried while the server is gone
	s.stop()
	b.says(".webhook .note.bad", "can't be reached")
	s.again()
	b.until("!document.querySelector('.webhook .note.bad')")
	b.clickText("Remove")
	b.says("main", "None yet")

	strict := serve(t)
	b = open(t, strict, 1280, 900)
	b.allow("status of 403")
	b.visit("#/webhooks")
	b.set("url", told.URL)
	b.clickText("Add")
	b.says(".note.bad", "the URL points to a private address")
}
