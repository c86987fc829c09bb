package web_test

import (
	"testing"
)

// A job is paused, resumed, cancelled and tried again from its page, which tells what it went
// through.
func TestLifecycle(t *testing.T) {
	s := serve(t)
	id := s.submit("to and fro", 60, 0.05)
	b := open(t, s, 1280, 900)
	b.visit("#/jobs/" + id)
	b.until("document.querySelector('.hero [data-points]')?.dataset.points > 5")
	b.clickText("Pause")
	b.until("document.querySelector('[data-status=paused]')")
	b.says(".events", "Paused")
	b.clickText("Resume")
	b.until("document.querySelector('[data-status=running]')")
	b.says(".events", "Queued again")
	b.clickText("Cancel")
	b.until("document.querySelector('[data-status=cancelled]')")
	b.clickText("Retry")
	b.until("document.querySelector('[data-status=running]')")
	b.says(".events", "Tried again")
	b.until("document.querySelector('[data-link=live]')")
	b.clickText("Stop and keep")
	b.until("document.querySelector('[data-status=completed]')")
	b.says(".summary", "it was asked to stop")
	b.shot("lifecycle")
}
