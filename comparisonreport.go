package scu

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// ComparisonReport is a comparison as it is answered: its runs, and what they amount to.
type ComparisonReport struct {
	ID        string    `json:"comparison_id"`
	Name      string    `json:"name,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	BaseModel string    `json:"base_model"`
	Status    string    `json:"status" enum:"running,completed,incomplete,cancelled" doc:"incomplete: runs failed, were cancelled or are missing, and none goes on; resume begins them anew"`
	Seeds     []int64   `json:"seeds" nullable:"false"`

	ValLossBefore   *Spread `json:"val_loss_before,omitempty" doc:"Of the untouched base, over the seeds"`
	OtherLossBefore *Spread `json:"other_loss_before,omitempty" doc:"On the text of another kind"`

	Rows    []ComparisonRow `json:"rows" nullable:"false" doc:"A setting each, in the order asked for"`
	Runs    []RunReport     `json:"runs" nullable:"false"`
	Verdict []string        `json:"verdict" nullable:"false" doc:"What may be concluded, in words"`
	Best    *BestSetting    `json:"best,omitempty" doc:"The setting whose kept weights have the lowest validation loss"`
}

// Spread is a figure over seeds: its mean and, of two or more, its sample standard
// deviation.
type Spread struct {
	Mean float64 `json:"mean"`
	SD   float64 `json:"sd"`
	N    int     `json:"n"`
}

// ComparisonRow is what a setting came to. Losses are in nats a token.
type ComparisonRow struct {
	Setting   string         `json:"setting"`
	Overrides map[string]any `json:"config_overrides"`
	Completed int            `json:"completed" doc:"Runs that count here"`
	Final     *Spread        `json:"val_loss_final,omitempty" doc:"Validation loss of the last weights"`
	Best      *Spread        `json:"val_loss_best,omitempty" doc:"Of the weights that are kept"`
	S         *Spread        `json:"s_ratio,omitempty" doc:"At the end"`
	TargetS   float64        `json:"target_s,omitempty" doc:"If the law holds S to one"`
	Lambda    *Spread        `json:"lambda_value,omitempty" doc:"At the end"`
	OtherBest *Spread        `json:"other_loss_best,omitempty" doc:"Loss on the text of another kind, of the weights that are kept"`
	OtherLast *Spread        `json:"other_loss_final,omitempty" doc:"Of the last weights"`
	Tokens    int64          `json:"tokens,omitempty" doc:"Trained on by each run"`
	Seconds   *Spread        `json:"training_time_seconds,omitempty"`
}

// RunReport is a run's job and what it came to.
type RunReport struct {
	Setting string   `json:"setting"`
	Seed    int64    `json:"seed"`
	JobID   string   `json:"job_id"`
	Status  Status   `json:"status,omitempty" doc:"Empty if the job isn't there: not submitted yet, or deleted"`
	Error   *Error   `json:"error,omitempty"`
	Summary *Summary `json:"metrics,omitempty"`
}

// BestSetting is a setting as a job's configuration.
type BestSetting struct {
	Setting string         `json:"setting"`
	Config  map[string]any `json:"config" doc:"As config_overrides, or a file for --config"`
}

// Report sums a comparison up. jobs are those of its runs, in their order; nil for one
// that isn't there.
func (c *Comparison) Report(jobs []*Job) ComparisonReport {
	r := ComparisonReport{ID: c.ID, Name: c.Name, CreatedAt: c.CreatedAt, BaseModel: c.Template.BaseModel, Seeds: c.Seeds, Rows: []ComparisonRow{}, Runs: []RunReport{}, Verdict: []string{}}
	ended, completed := 0, 0
	for i, run := range c.Runs {
		rr := RunReport{Setting: c.Settings[run.Setting].Name, Seed: run.Seed, JobID: run.JobID}
		if j := jobs[i]; j != nil {
			rr.Status, rr.Error = j.Status, j.Error
			if j.Status.Ended() {
				ended++
			}
			if j.Status == Completed && j.Adapter != nil {
				rr.Summary = &j.Adapter.Metrics
				completed++
			}
		} else {
			ended++
		}
		r.Runs = append(r.Runs, rr)
	}
	switch {
	case completed == len(c.Runs):
		r.Status = "completed"
	case ended < len(c.Runs):
		r.Status = "running"
	case c.Cancelled:
		r.Status = "cancelled"
	default:
		r.Status = "incomplete"
	}
	all := c.summaries(r.Runs)
	for i, s := range c.Settings {
		row := ComparisonRow{Setting: s.Name, Overrides: s.Overrides, Completed: len(all[i])}
		if cfg, err := c.Config(i, c.Seeds[0]); err == nil && cfg.Control.HoldsS() {
			row.TargetS = cfg.Control.TargetS
		}
		for figure, of := range map[**Spread]func(*Summary) *float64{
			&row.Final: finalLoss, &row.Best: bestLoss,
			&row.S:         func(s *Summary) *float64 { return &s.S },
			&row.Lambda:    func(s *Summary) *float64 { return &s.Lambda },
			&row.OtherBest: func(s *Summary) *float64 { return s.OtherLossAfter },
			&row.OtherLast: func(s *Summary) *float64 { return s.OtherLossLast },
			&row.Seconds:   func(s *Summary) *float64 { return &s.Seconds },
		} {
			*figure = c.spread(all[i], of)
		}
		for _, s := range all[i] {
			row.Tokens = s.Tokens
		}
		r.Rows = append(r.Rows, row)
	}
	base := map[int64]*Summary{} // by seed: the base is the same under each setting
	for _, bySeed := range all {
		for seed, s := range bySeed {
			base[seed] = s
		}
	}
	r.ValLossBefore = c.spread(base, func(s *Summary) *float64 { return s.ValLossBefore })
	r.OtherLossBefore = c.spread(base, func(s *Summary) *float64 { return s.OtherLossBefore })
	if best := lowest(r.Rows, func(row ComparisonRow) *Spread { return row.Best }); best >= 0 {
		r.Best = &BestSetting{Setting: r.Rows[best].Setting, Config: c.BestConfig(best)}
	}
	r.Verdict = c.verdict(&r, all, completed)
	return r
}

func finalLoss(s *Summary) *float64 { return s.ValLossLast }
func bestLoss(s *Summary) *float64  { return s.ValLossAfter }

// summaries are what the completed runs came to, by setting and seed.
func (c *Comparison) summaries(runs []RunReport) []map[int64]*Summary {
	all := make([]map[int64]*Summary, len(c.Settings))
	for i := range all {
		all[i] = map[int64]*Summary{}
	}
	for i, run := range c.Runs {
		if s := runs[i].Summary; s != nil {
			all[run.Setting][run.Seed] = s
		}
	}
	return all
}

// spread is a figure's mean and standard deviation over the seeds, in their order; nil if
// no run has it.
func (c *Comparison) spread(runs map[int64]*Summary, of func(*Summary) *float64) *Spread {
	var values []float64
	for _, seed := range c.Seeds {
		if s := runs[seed]; s != nil {
			if x := of(s); x != nil {
				values = append(values, *x)
			}
		}
	}
	if len(values) == 0 {
		return nil
	}
	s := spreadOf(values)
	return &s
}

func spreadOf(values []float64) Spread {
	s := Spread{N: len(values)}
	for _, x := range values {
		s.Mean += x / float64(s.N)
	}
	for _, x := range values {
		s.SD += (x - s.Mean) * (x - s.Mean)
	}
	if s.N > 1 {
		s.SD = math.Sqrt(s.SD / float64(s.N-1))
	} else {
		s.SD = 0
	}
	return s
}

// lowest is the row with the lowest mean of a figure, -1 if no row has it.
func lowest(rows []ComparisonRow, of func(ComparisonRow) *Spread) int {
	best := -1
	for i, row := range rows {
		if s := of(row); s != nil && (best < 0 || s.Mean < of(rows[best]).Mean) {
			best = i
		}
	}
	return best
}

// String is the figure for people.
func (s Spread) String() string {
	if s.N < 2 {
		return fmt.Sprintf("%.4f", s.Mean)
	}
	return fmt.Sprintf("%.4f ± %.4f", s.Mean, s.SD)
}

// significance is the chance of error, over all settings together, at which one counts as
// worse than the best.
const significance = 0.05

// verdict says what may be concluded.
func (c *Comparison) verdict(r *ComparisonReport, all []map[int64]*Summary, completed int) []string {
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	if completed < len(c.Runs) {
		add("%d of %d runs have completed: what follows is of these.", completed, len(c.Runs))
	}
	if r.Best == nil {
		if completed > 0 {
			add("No run has a validation loss: give validation data, or raise val_fraction.")
		}
		return append(r.Verdict, lines...)
	}
	lines = append(lines, c.judge(r, all, "the weights that are kept", bestLoss, func(row ComparisonRow) *Spread { return row.Best })...)
	lines = append(lines, c.judge(r, all, "the last weights", finalLoss, func(row ComparisonRow) *Spread { return row.Final })...)
	if before := r.ValLossBefore; before != nil {
		if best := r.Rows[lowest(r.Rows, func(row ComparisonRow) *Spread { return row.Best })].Best; best.Mean >= before.Mean {
			add("Nothing helped: no setting comes below the untouched base, %s.", before)
		}
	}
	lines = append(lines, forgotten(r)...)
	lines = append(lines, c.same(all)...)
	if len(c.Seeds) < 3 {
		add("%s: too few to tell a small difference from chance; take 3 or more.", Counted(len(c.Seeds), "seed"))
	}
	return lines
}

// judge tells which setting has the lowest loss, which can't be told apart from it, and
// which are worse. Losses are compared seed by seed, by a t-test on their differences; of
// many settings one may look worse by chance, which Holm's correction takes into account.
func (c *Comparison) judge(r *ComparisonReport, all []map[int64]*Summary, what string, loss func(*Summary) *float64, of func(ComparisonRow) *Spread) (lines []string) {
	best := lowest(r.Rows, of)
	if best < 0 {
		return nil
	}
	line := fmt.Sprintf("Of %s, %q has the lowest validation loss: %s", what, r.Rows[best].Setting, of(r.Rows[best]))
	if r.ValLossBefore != nil {
		line += fmt.Sprintf(", the untouched base %s", r.ValLossBefore)
	}
	lines = append(lines, line+".")
	type rival struct {
		name string
		more float64
		p    float64
	}
	var rivals []rival
	for i, row := range r.Rows {
		if i == best || of(row) == nil {
			continue
		}
		var differences []float64
		for _, seed := range c.Seeds {
			a, b := all[i][seed], all[best][seed]
			if a != nil && b != nil && loss(a) != nil && loss(b) != nil {
				differences = append(differences, *loss(a)-*loss(b))
			}
		}
		rivals = append(rivals, rival{row.Setting, of(row).Mean - of(r.Rows[best]).Mean, pairedP(differences)})
	}
	slices.SortStableFunc(rivals, func(a, b rival) int {
		if a.p < b.p {
			return -1
		} else if a.p > b.p {
			return 1
		}
		return 0
	})
	var worse, equal []string
	told := true
	for i, x := range rivals {
		if told = told && x.p*float64(len(rivals)-i) < significance; told {
			worse = append(worse, fmt.Sprintf("%q by %.4f", x.name, x.more))
		} else {
			equal = append(equal, fmt.Sprintf("%q (+%.4f)", x.name, x.more))
		}
	}
	if len(equal) > 0 {
		lines = append(lines, "Within the spread of the seeds, so not told apart from it: "+strings.Join(equal, ", ")+".")
	}
	if len(worse) > 0 {
		lines = append(lines, "Worse: "+strings.Join(worse, ", ")+".")
	}
	return lines
}

// pairedP is the chance of differences at least so far from 0 on average if there is none:
// the two-sided t-test. It is 1 if they are too few to say.
func pairedP(differences []float64) float64 {
	if len(differences) < 2 {
		return 1
	}
	s := spreadOf(differences)
	switch {
	case s.Mean == 0:
		return 1
	case s.SD == 0:
		return 0
	}
	return studentP(s.Mean/(s.SD/math.Sqrt(float64(s.N))), s.N-1)
}

// studentP is the chance of |T| >= |t| of Student's distribution with n degrees of
// freedom; Abramowitz and Stegun, 26.7.3 and 26.7.4.
func studentP(t float64, n int) float64 {
	theta := math.Atan(math.Abs(t) / math.Sqrt(float64(n)))
	sin, cos2 := math.Sin(theta), math.Cos(theta)*math.Cos(theta)
	sum, term := 0.0, 1.0
	if n%2 == 0 {
		for k := 1; k <= n-1; k += 2 { // 1 + 1/2 cos^2 + (1*3)/(2*4) cos^4 ...
			sum += term
			term *= cos2 * float64(k) / float64(k+1)
		}
		return max(0, 1-sin*sum)
	}
	term = math.Cos(theta)
	for k := 2; k <= n-1; k += 2 { // cos + 2/3 cos^3 + (2*4)/(3*5) cos^5 ...
		sum += term
		term *= cos2 * float64(k) / float64(k+1)
	}
	return max(0, 1-2/math.Pi*(theta+sin*sum))
}

// forgotten tells what became of the base's other abilities.
func forgotten(r *ComparisonReport) []string {
	if r.OtherLossBefore == nil {
		return nil
	}
	most, least := -1, -1
	for i, row := range r.Rows {
		if row.OtherLast == nil {
			continue
		}
		if most < 0 || row.OtherLast.Mean < r.Rows[most].OtherLast.Mean {
			most = i
		}
		if least < 0 || row.OtherLast.Mean > r.Rows[least].OtherLast.Mean {
			least = i
		}
	}
	if most < 0 || most == least {
		return nil
	}
	return []string{fmt.Sprintf("On the text of another kind the base has %s; the last weights of %q have %s, those of %q %s.",
		r.OtherLossBefore, r.Rows[most].Setting, r.Rows[most].OtherLast, r.Rows[least].Setting, r.Rows[least].OtherLast)}
}

// same tells of settings that gave the same losses in every run.
func (c *Comparison) same(all []map[int64]*Summary) (lines []string) {
	for i := range all {
		for k := range i {
			equal := len(all[i]) == len(c.Seeds) && len(all[k]) == len(c.Seeds)
			for _, seed := range c.Seeds {
				equal = equal && equalLosses(all[i][seed], all[k][seed])
			}
			if equal {
				lines = append(lines, fmt.Sprintf("%q and %q gave the same losses to the last digit, with every seed.", c.Settings[k].Name, c.Settings[i].Name))
				break
			}
		}
	}
	return lines
}

func equalLosses(a, b *Summary) bool {
	return a != nil && b != nil && a.CE == b.CE && finalLoss(a) != nil && finalLoss(b) != nil && *finalLoss(a) == *finalLoss(b) && *bestLoss(a) == *bestLoss(b)
}
