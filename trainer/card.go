package trainer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/shannon-control/scu"
	"github.com/shannon-control/scu/models"
	"github.com/shannon-control/scu/trainer/base"
	"github.com/shannon-control/scu/trainer/lora"
)

// card is the model card, README.md, with the front matter that the Hub reads.
func (r *run) card(summary scu.Summary, note string) []byte {
	var b bytes.Buffer
	cfg, from := r.job.Config, cardBaseOf(r.job.Config)
	fmt.Fprintf(&b, "---\nlibrary_name: peft\n")
	if from.repo != "" {
		fmt.Fprintf(&b, "base_model: %s\n", yamlString(from.repo))
	}
	fmt.Fprintf(&b, "pipeline_tag: text-generation\ntags:\n- lora\n- transformers\n")
	if from.repo != "" {
		fmt.Fprintf(&b, "- base_model:adapter:%s\n", from.repo)
	}
	fmt.Fprintf(&b, "---\n\n# LoRA adapter for %s\n\n", from.name)
	fmt.Fprintf(&b, "Trained under a Shannon Control Unit: a controller that adapts the regularisation strength lambda so that the adapter's share of the information, S, stays at its target.\n\n")
	if note != "" {
		fmt.Fprintf(&b, "**%s**\n\n", note)
	}
	fmt.Fprintf(&b, "| | |\n|---|---|\n")
	row := func(k, format string, args ...any) { fmt.Fprintf(&b, "| %s | %s |\n", k, fmt.Sprintf(format, args...)) }
	row("rank, alpha", "%d, %g", cfg.LoRA.R, cfg.LoRA.Alpha)
	row("trainable parameters", "%d", lora.Count(r.modules))
	row("steps, tokens", "%d, %d", summary.Steps, r.tokens)
	row("weights", "after step %d of %d", summary.KeptStep, r.steps)
	if summary.EndedEarly != "" {
		row("ended early", "%s", summary.EndedEarly)
	}
	row("block size, batch, accumulation", "%d, %d, %d", cfg.BlockSize, cfg.BatchSize, cfg.GradientAccumulationSteps)
	for _, x := range r.sources {
		share := ""
		if x.Share > 0 {
			share = fmt.Sprintf(", share %g", x.Share)
		}
		row("data", "%s%s: %s, %d tokens, %d of them in an epoch", markdownCell(x.Name), share, scu.Counted(int(x.Documents), "document"), x.Tokens, x.EpochTokens)
	}
	row("learning rate", "%g", cfg.LearningRate)
	row("control law", "%s", cfg.Control.Law)
	row("target S, S at the end", "%g, %.4g", summary.TargetS, summary.S)
	row("lambda at the end", "%s", lambdaText(summary))
	if before, after := summary.ValLossBefore, summary.ValLossAfter; before != nil && after != nil {
		row("validation loss before, after, of the last step", "%.4f, %.4f, %.4f nats a token", *before, *after, *summary.ValLossLast)
	}
	if len(summary.Warnings) > 0 {
		fmt.Fprintf(&b, "\n")
	}
	for _, w := range summary.Warnings {
		fmt.Fprintf(&b, "- **Warning**: %s\n", w)
	}
	fmt.Fprintf(&b, "\nEvery step is in `%s`, every setting in `%s`.\n", metricsFile, base.TrainingFile)
	fmt.Fprintf(&b, "\n%s\n\n```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\nfolder = \"path/to/this/folder\"\nmodel = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(%s), folder)\ntokenizer = AutoTokenizer.from_pretrained(folder)\n```\n", from.origin, from.args)
	return b.Bytes()
}

// markdownCell keeps a name of the user's within its cell of a table.
func markdownCell(s string) string {
	return strings.NewReplacer("|", `\|`, "`", "'", "<", "&lt;", "\n", " ", "\r", " ").Replace(s)
}

func lambdaText(s scu.Summary) string {
	if s.LambdaMin == nil || s.LambdaMax == nil {
		return fmt.Sprintf("%.4g", s.Lambda)
	}
	return fmt.Sprintf("%.4g, at a bound (%g to %g)", s.Lambda, *s.LambdaMin, *s.LambdaMax)
}

// yamlString quotes what plain YAML would read otherwise.
func yamlString(s string) string {
	if strings.ContainsAny(s, ":#{}[]&*!|>'\"%@`\n\\ ") {
		b, _ := json.Marshal(s)
		return string(b)
	}
	return s
}

// cardBase is how the model card names the base, and says where it is to be had.
type cardBase struct {
	repo   string // on the Hub; empty if it isn't there
	name   string
	origin string // a sentence
	args   string // of from_pretrained
}

// cardBaseOf reads the base from a job's configuration. Of a folder only its last name is
// told: the rest is the trainer's own.
func cardBaseOf(cfg scu.Config) cardBase {
	switch named := cfg.Base(); {
	case named == models.BuiltIn:
		return cardBase{
			name:   named,
			origin: "The base, " + named + ", is not on the Hugging Face Hub: it is built into scu, and lies in `models/" + named + "` of its source.\n`scu merge --adapter path/to/this/folder --out merged` makes a whole model of both.",
			args:   strconv.Quote("models/" + named),
		}
	case filepath.IsAbs(named):
		name := filepath.Base(named)
		return cardBase{
			name:   name,
			origin: "The base was a local folder, " + name + "; `base_fingerprint` in `" + base.TrainingFile + "` tells its weights from others.",
			args:   strconv.Quote("path/to/" + name),
		}
	default:
		repo, revision := base.Revision(named)
		args := strconv.Quote(repo)
		origin := "The base is [" + repo + "](https://huggingface.co/" + repo + ")"
		if revision != "" {
			args += ", revision=" + strconv.Quote(revision)
			origin += ", revision " + revision
		}
		return cardBase{repo: repo, name: repo, origin: origin + ".", args: args}
	}
}
