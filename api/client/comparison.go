package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/shannon-control/scu"
)

// ComparisonRequest asks for a comparison: settings, a space of them, or both.
type ComparisonRequest struct {
	Name            string         `json:"name,omitempty" maxLength:"200" nullable:"true" doc:"A name for people. The same comparison under the same name again goes on with the one that is there; another one is refused"`
	BaseModel       string         `json:"base_model" minLength:"1" maxLength:"500" example:"bookworm-2m" doc:"Named as for a job"`
	TrainDataPath   string         `json:"train_data_path,omitempty" maxLength:"4096" doc:"The data, named as for a job. Either it or train_data is needed"`
	TrainData       []TrainSource  `json:"train_data,omitempty" minItems:"2" maxItems:"16" doc:"Several sources instead of train_data_path, as for a job"`
	ValDataPath     string         `json:"val_data_path,omitempty" maxLength:"4096" nullable:"true" doc:"Validation data likewise. Without it a share of the training data is held out, of rows another one for each seed"`
	OtherDataPath   string         `json:"other_data_path,omitempty" maxLength:"4096" nullable:"true" doc:"Text of another kind, whose loss tells what is kept of the base"`
	FromAdapter     string         `json:"from_adapter,omitempty" maxLength:"200" nullable:"true" doc:"The adapter that all runs begin from, as for a job"`
	ConfigOverrides map[string]any `json:"config_overrides,omitempty" nullable:"true" doc:"The configuration of all runs, as for a job"`
	Settings        []scu.Setting  `json:"settings,omitempty" maxItems:"100" doc:"What is compared: each lays its fields over config_overrides"`
	Space           scu.Space      `json:"space,omitempty" doc:"A search space, whose settings come after the others: dotted paths of fields with their values or ranges"`
	Samples         int            `json:"samples,omitempty" minimum:"0" maximum:"100" doc:"Draw so many settings of the space at random; 0: its whole grid"`
	SampleSeed      int64          `json:"sample_seed,omitempty" doc:"Which settings are drawn: the same ones for the same seed"`
	Seeds           []int64        `json:"seeds,omitempty" maxItems:"100" doc:"Each setting is trained with each; default 42, 43 and 44"`
	Priority        int            `json:"priority,omitempty" minimum:"-100" maximum:"100" doc:"Of its jobs"`
}

// ComparisonList are comparisons, the newest first.
type ComparisonList struct {
	Comparisons []ComparisonSummary `json:"comparisons" nullable:"false"`
	Count       int                 `json:"count"`
}

// ComparisonSummary is a comparison in a list.
type ComparisonSummary struct {
	ID        string   `json:"comparison_id"`
	Name      string   `json:"name,omitempty"`
	Owner     string   `json:"owner,omitempty" doc:"Of the key that asked for it"`
	CreatedAt string   `json:"created_at" format:"date-time"`
	BaseModel string   `json:"base_model"`
	Settings  []string `json:"settings" nullable:"false" doc:"Their names"`
	Seeds     []int64  `json:"seeds" nullable:"false"`
	Runs      int      `json:"runs"`
	Cancelled bool     `json:"cancelled"`
}

// Compare asks for a comparison, or goes on with the one of that name.
func (c *Client) Compare(ctx context.Context, r ComparisonRequest) (scu.ComparisonReport, error) {
	return post[scu.ComparisonReport](ctx, c, "/comparisons", r, "")
}

// Comparison returns a comparison as it stands.
func (c *Client) Comparison(ctx context.Context, id string) (scu.ComparisonReport, error) {
	return call[scu.ComparisonReport](ctx, c, http.MethodGet, comparisonPath(id, ""))
}

// Comparisons lists the comparisons, the newest first.
func (c *Client) Comparisons(ctx context.Context) (ComparisonList, error) {
	return call[ComparisonList](ctx, c, http.MethodGet, "/comparisons")
}

// CancelComparison cancels the jobs of a comparison that have not ended. Twice is once.
func (c *Client) CancelComparison(ctx context.Context, id string) (scu.ComparisonReport, error) {
	return call[scu.ComparisonReport](ctx, c, http.MethodPost, comparisonPath(id, "/cancel"))
}

// ResumeComparison goes on with a comparison: jobs that failed, were cancelled or are
// missing begin anew.
func (c *Client) ResumeComparison(ctx context.Context, id string) (scu.ComparisonReport, error) {
	return call[scu.ComparisonReport](ctx, c, http.MethodPost, comparisonPath(id, "/resume"))
}

func comparisonPath(id, rest string) string { return "/comparisons/" + url.PathEscape(id) + rest }
