package web_test

import (
	"testing"
)

// A job is seen to train, live, on the list and on its own page, and its end as well.
func TestLive(t *testing.T) {
	s := serve(t)
	id := s.submit("the keeper's log", 16, 0.05)
	b := open(t, s, 1280, 900)
	b.visit("#/jobs")
	b.says(".run", "the keeper's log")
	b.until("document.querySelectorAll('.run .spark polyline').length >= 3")
	b.shot("jobs-running")
	b.visit("#/jobs/" + id)
	b.says(".words", "S is")
	b.until("document.querySelector('.hero [data-points]')?.dataset.points > 40")
	b.shot("job-running")
	b.until("document.querySelector('[data-status=completed]') && document.querySelector('[data-link=ended]')")
	b.says(".words", "It ended with S")
	b.says(".summary", "→")
	b.says(".events", "Completed")
	b.says(".settings", "control.target_s")
	b.shot("job")
	b.as("dark")
	b.shot("job-dark")
	b.size(390, 844)
	b.fits("a job at 390 px")
	b.shot("job-390")
	b.size(2560, 1440)
	b.as("light")
	b.fits("a job at 2,560 px")
	b.shot("job-2560")
	b.visit("#/jobs")
	b.says("tbody tr", "completed")
	b.fits("jobs at 2,560 px")
	b.size(390, 844)
	b.fits("jobs at 390 px")
	b.until("[...document.querySelectorAll('tbody .acts :is(button, a)')].map((e) => e.innerText).join() === 'Download,Again' && document.querySelector('.acts a').checkVisibility()")
	b.shot("jobs-390")
}
