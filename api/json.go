package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/shannon-control/scu"
)

// jsonFormat reads and writes bodies as huma's does, but takes 5.0 and 1e2 for whole
// numbers, as JSON's other readers do, refuses a field that an object has twice, and says what is
// wrong in the user's words.
var jsonFormat = huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: decodeJSON}

func decodeJSON(data []byte, to any) error {
	err := json.Unmarshal(data, to)
	var kind *json.UnmarshalTypeError
	if errors.As(err, &kind) && strings.HasPrefix(kind.Value, "number ") {
		if plain, e := plainIntegers(data); e == nil {
			err = json.Unmarshal(plain, to)
		}
	}
	if _, checks := to.(*any); err == nil && !checks { // huma reads a body to check it and again to use it: once is enough
		if field, repeated := scu.RepeatedField(data); repeated {
			return fmt.Errorf("%s: %s", field, twice)
		}
	}
	return inWords(err)
}

// inWords is an error of package json without the names of Go's types.
func inWords(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax) && strings.HasPrefix(err.Error(), "unexpected end"):
		return errors.New("the JSON breaks off before its end")
	case errors.As(err, &syntax):
		return fmt.Errorf("the JSON is wrong at byte %d: %w", syntax.Offset, err)
	case errors.As(err, &kind):
		what := kind.Value
		if number, ok := strings.CutPrefix(what, "number "); ok {
			what = fmt.Sprintf("%.40s is out of range", number)
		} else {
			what = fmt.Sprintf("a value of another kind is wanted, not this %s", what)
		}
		if kind.Field != "" {
			return fmt.Errorf("%s: %s", kind.Field, what)
		}
		return errors.New(what)
	}
	return err
}

// plainIntegers writes the numbers of a JSON text that are whole without a point or an
// exponent, if they are exact so.
func plainIntegers(data []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(plain(v))
}

func plain(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			x[k] = plain(x[k])
		}
	case []any:
		for i := range x {
			x[i] = plain(x[i])
		}
	case json.Number:
		const exact = 1 << 53
		if f, err := strconv.ParseFloat(string(x), 64); err == nil && f >= -exact && f <= exact && f == float64(int64(f)) {
			return int64(f)
		}
	}
	return v
}
