package web_test

import (
	"encoding/json"
	"testing"
)

// A comparison is followed to its table and verdict, and its runs to their curves.
func TestComparison(t *testing.T) {
	s := serve(t)
	var c struct {
		ID string `json:"comparison_id"`
	}
	must(t, json.Unmarshal(s.ask("POST", "/comparisons", `{"name": "targets", "base_model": "bookworm-2m", "train_data_path": "text/keeper.txt", "seeds": [1],
		"config_overrides": {"epochs": 1, "learning_rate": 1e-3, "block_size": 256, "batch_size": 2, "val_fraction": 0.15},
		"settings": [{"name": "held at 0.1", "config_overrides": {"control": {"target_s": 0.1}}}, {"name": "held at 0.02", "config_overrides": {"control": {"target_s": 0.02}}}]}`), &c))
	b := open(t, s, 1280, 900)
	b.visit("#/comparisons")
	b.clickText("targets")
	b.until("document.querySelector('[data-status=completed]')")
	b.says(".results", "held at 0.02")
	b.until("document.querySelectorAll('.verdicts li').length > 0")
	b.shot("comparison")
	b.size(390, 844)
	b.fits("a comparison at 390 px")
	b.clickText("Show curves")
	b.until("document.querySelectorAll('.chart canvas').length === 4")
}

// A grid of settings is compared from the page of a new job; the best one's settings come out
// as a file, and begin a job.
func TestComparisonFromThePage(t *testing.T) {
	s := serve(t)
	id := s.submit("as a beginning", 1, 0.05)
	b := open(t, s, 1280, 900)
	saved := b.saves()
	b.visit("#/new?from=" + id)
	b.until("document.querySelector('input[name=seeds]')")
	b.says(".verdict", "raise batch_size") // what to do about it
	b.set("values0", "0.02, 0.1")
	b.set("seeds", "1")
	b.says("form", "2 settings × 1 seed: 2 jobs")
	b.clickText("Another setting")
	b.set("axis1", "lora.r")
	b.set("values1", "8")
	b.says("form", "2 settings × 1 seed: 2 jobs")
	b.shot("new-comparison")
	b.clickText("Compare")
	b.until("location.hash.startsWith('#/comparisons/') && document.querySelector('[data-status=completed]')")
	b.says(".results", "control.target_s=0.1")
	b.clickText("Download")
	var config struct {
		Epochs int
		LoRA   struct{ R int } `json:"lora"`
	}
	data := saved()
	must(t, json.Unmarshal(data, &config))
	if config.LoRA.R != 8 {
		t.Errorf("the file is %s", data)
	}
	b.clickText("Train with them")
	b.until("document.querySelector('input[name=\"lora.r\"]')?.value === '8'")
}
