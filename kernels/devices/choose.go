package devices

import (
	"fmt"
	"strconv"
	"strings"
)

// choose keeps the GPUs that are named, in that order: by the number that their
// machine's driver gives them, or by the beginning of their UUIDs. None named: all.
func choose(kinds []Kind, named []string) ([]Kind, error) {
	if len(named) == 0 {
		return kinds, nil
	}
	var chosen []Kind
	taken := map[int]bool{}
	for _, name := range named {
		number, err := strconv.Atoi(name)
		byNumber := err == nil
		matches := 0
		for i, k := range kinds {
			if byNumber && k.Number != number || !byNumber && (name == "" || !strings.HasPrefix(k.UUID, name)) {
				continue
			}
			if matches++; taken[i] {
				return nil, fmt.Errorf("GPU %q is named twice", name)
			}
			taken[i] = true
			chosen = append(chosen, k)
		}
		switch {
		case matches == 0:
			return nil, fmt.Errorf("there is no GPU %q: the process sees %s", name, list(kinds))
		case matches > 1 && byNumber: // slices have their card's
			return nil, fmt.Errorf("%d GPUs have the number %s: name one by its UUID, of %s", matches, name, list(kinds))
		case matches > 1:
			return nil, fmt.Errorf("%q is the beginning of %d GPUs' UUIDs: %s", name, matches, list(kinds))
		}
	}
	return chosen, nil
}

func list(kinds []Kind) string {
	var names []string
	for _, k := range kinds {
		names = append(names, strings.TrimSpace(fmt.Sprintf("%d %s", k.Number, k.UUID)))
	}
	return strings.Join(names, ", ")
}
