package devices

import (
	"strings"
	"testing"
)

// GPUs are chosen by number or by their UUIDs' beginning, in the order named; what names
// none, several or one twice is refused.
func TestChoose(t *testing.T) {
	kinds := []Kind{{Number: 2, UUID: "GPU-aa11"}, {Number: 0, UUID: "GPU-ab22"}, {Number: 3, UUID: "MIG-cc33"},
		{Number: 5, UUID: "MIG-dd44"}, {Number: 5, UUID: "MIG-dd55"}}
	for _, c := range []struct {
		named string
		want  string
		says  string
	}{
		{"", "2 0 3 5 5", ""},
		{"0,2", "0 2", ""},
		{"GPU-ab,3", "0 3", ""},
		{"MIG-cc33", "3", ""},
		{"1", "", `no GPU "1": the process sees 2 GPU-aa11, 0 GPU-ab22, 3 MIG-cc33`},
		{"GPU-a", "", "beginning of 2"},
		{"0,GPU-ab", "", "named twice"},
		{"0,", "", `no GPU ""`},
		{"GPU-x", "", "no GPU"},
		{"5", "", `2 GPUs have the number 5: name one by its UUID, of 2 GPU-aa11`},
	} {
		var named []string
		if c.named != "" {
			named = strings.Split(c.named, ",")
		}
		got, err := choose(kinds, named)
		var numbers []string
		for _, k := range got {
			numbers = append(numbers, string(rune('0'+k.Number)))
		}
		if text := strings.Join(numbers, " "); text != c.want || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%q: %s, %v", c.named, text, err)
		}
	}
}
