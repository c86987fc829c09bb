package openai

import (
	"net/url"
	"strconv"

	"github.com/shannon-control/scu"
)

// page is a list in answers. Each of its items has an id.
type page[T any] struct {
	Object  string  `json:"object"` // "list"
	Data    []T     `json:"data"`
	HasMore bool    `json:"has_more"`
	FirstID *string `json:"first_id"`
	LastID  *string `json:"last_id"`
}

func listed[T any](data []T, more bool, id func(T) string) page[T] {
	p := page[T]{Object: "list", Data: data, HasMore: more}
	if len(data) == 0 {
		p.Data = []T{}
		return p
	}
	first, last := id(data[0]), id(data[len(data)-1])
	p.FirstID, p.LastID = &first, &last
	return p
}

// limitOf reads limit, from 1 to most.
func limitOf(q url.Values, def, most int) (int, error) {
	s := q.Get("limit")
	if s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return 0, scu.Errorf(scu.CodeInvalid, "%.40q is not a number from 1 to %d", s, most).At("limit")
	}
	return min(n, most), nil
}

// unknownAfter refuses a cursor that no item has.
func unknownAfter(after string) error {
	return scu.Errorf(scu.CodeNotFound, "there is no %.80q to go on after", after).At("after")
}
