package scu

import (
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Space is a search space: for each field, by its dotted path, the values that it takes.
type Space map[string]Axis

// Axis is what one field takes: a list of values, or a range to draw from.
type Axis struct {
	Values []any    `json:"values,omitempty" doc:"The values, each tried"`
	Min    *float64 `json:"min,omitempty" doc:"The least value of a range; only drawn settings have one"`
	Max    *float64 `json:"max,omitempty" doc:"The greatest value of a range"`
	Log    bool     `json:"log,omitempty" doc:"Draw evenly in the logarithm"`
}

// Expand lists the settings of a space: with samples 0 its whole grid, the last field
// varying fastest; otherwise so many drawn at random, the same ones for the same seed.
func (s Space) Expand(samples int, seed int64) ([]Setting, error) {
	fields := slices.Sorted(maps.Keys(s))
	for _, f := range fields {
		if err := s[f].check(samples); err != nil {
			return nil, err.At("space." + f)
		}
	}
	if len(fields) == 0 {
		return nil, nil
	}
	var out []Setting
	add := func(value func(i int) any) {
		overrides := map[string]any{}
		for i, f := range fields {
			putField(overrides, f, value(i))
		}
		out = append(out, Setting{Overrides: overrides})
	}
	if samples > 0 {
		random := rand.New(rand.NewPCG(uint64(seed), 0))
		for range samples {
			add(func(i int) any { return s[fields[i]].draw(random) })
		}
		return out, nil
	}
	total := 1
	for _, f := range fields {
		if total *= len(s[f].Values); total > MaxComparedSettings {
			return nil, Errorf(CodeTooLarge, "the grid has more than %d settings", MaxComparedSettings).At("space").WithHint("give fewer values, or samples")
		}
	}
	for n := range total {
		place := make([]int, len(fields))
		for i, rest := len(fields)-1, n; i >= 0; i-- {
			size := len(s[fields[i]].Values)
			place[i], rest = rest%size, rest/size
		}
		add(func(i int) any { return s[fields[i]].Values[place[i]] })
	}
	return out, nil
}

func (a Axis) check(samples int) *Error {
	ranged := a.Min != nil || a.Max != nil
	switch {
	case ranged == (len(a.Values) > 0):
		return Errorf(CodeInvalid, "give values, or min and max")
	case !ranged:
		return nil
	case samples == 0:
		return Errorf(CodeInvalid, "a range has no grid").WithHint("give values, or samples to draw so many settings")
	case a.Min == nil || a.Max == nil || !(*a.Min < *a.Max):
		return Errorf(CodeInvalid, "a range needs a min below its max")
	case a.Log && *a.Min <= 0:
		return Errorf(CodeInvalid, "a range in the logarithm needs a min over 0")
	}
	return nil
}

// draw takes a value at random; those of a range have three digits.
func (a Axis) draw(random *rand.Rand) any {
	if len(a.Values) > 0 {
		return a.Values[random.IntN(len(a.Values))]
	}
	x := random.Float64()
	if a.Log {
		x = *a.Min * math.Pow(*a.Max / *a.Min, x)
	} else {
		x = *a.Min + x*(*a.Max-*a.Min)
	}
	short, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', 3, 64), 64)
	if err != nil {
		return x
	}
	return min(max(short, *a.Min), *a.Max)
}

// putField sets the field at a dotted path.
func putField(m map[string]any, path string, value any) {
	head, rest, deeper := strings.Cut(path, ".")
	if !deeper {
		m[head] = value
		return
	}
	inner, ok := m[head].(map[string]any)
	if !ok {
		inner = map[string]any{}
		m[head] = inner
	}
	putField(inner, rest, value)
}

// shortFields are short names of fields in the text of a setting.
var shortFields = map[string]string{"target": "control.target_s", "rank": "lora.r", "alpha": "lora.alpha", "rate": "learning_rate", "sigma": "prior_sigma"}

// ParseSetting reads a setting in words, parts joined by commas: lambda=3 (a fixed one),
// log_pi, scu, published (the published code as it is), target=0.004, rank=8, rate=1e-3,
// or any field=value.
func ParseSetting(text string) (Setting, error) {
	s := Setting{Name: strings.TrimSpace(text), Overrides: map[string]any{}}
	for part := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		switch {
		case !ok && name == "published":
			putField(s.Overrides, "control.law", LawUnapplied)
		case !ok && (name == LawSCU || name == LawLogPI):
			putField(s.Overrides, "control.law", name)
		case !ok && name == "defaults":
		case !ok || name == "":
			return s, Errorf(CodeInvalid, "%.60q is no setting", part).WithHint("as lambda=3, log_pi, scu, published, target=0.004, rank=8, rate=1e-3 or field=value; parts are joined by commas")
		case name == "lambda":
			lambda, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return s, Errorf(CodeInvalid, "lambda=%.40s is no number", value)
			}
			putField(s.Overrides, "control.law", LawFixed)
			putField(s.Overrides, "control.lambda_init", lambda)
		default:
			if long, ok := shortFields[name]; ok {
				name = long
			}
			putField(s.Overrides, name, FieldValue(value))
		}
	}
	return s, nil
}

// FieldValue reads a value as JSON, or as a plain word.
func FieldValue(text string) any {
	var value any
	if json.Unmarshal([]byte(text), &value) != nil {
		return text
	}
	return value
}

// ParseAxis reads field=a,b,c, values to try, or field=min..max, a range to draw from;
// one between numbers over 0 is drawn in the logarithm.
func ParseAxis(text string) (field string, a Axis, err error) {
	field, list, ok := strings.Cut(text, "=")
	if !ok || field == "" || list == "" {
		return "", a, Errorf(CodeInvalid, "%.60q is not of the form field=a,b,c or field=min..max", text)
	}
	if long, ok := shortFields[field]; ok {
		field = long
	}
	if low, high, ok := strings.Cut(list, ".."); ok {
		var bounds [2]float64
		for i, x := range []string{low, high} {
			if bounds[i], err = strconv.ParseFloat(x, 64); err != nil {
				return "", a, Errorf(CodeInvalid, "%s: %.40q is no number", field, x)
			}
		}
		return field, Axis{Min: &bounds[0], Max: &bounds[1], Log: bounds[0] > 0}, nil
	}
	for x := range strings.SplitSeq(list, ",") {
		a.Values = append(a.Values, FieldValue(x))
	}
	return field, a, nil
}

// SeedList is n seeds, from 42 on: those of a comparison that names none.
func SeedList(n int) []int64 {
	seeds := make([]int64, n)
	for i := range seeds {
		seeds[i] = 42 + int64(i)
	}
	return seeds
}
