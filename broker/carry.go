package broker

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/shannon-control/scu"
)

// encodeAfter encodes an entry. What a newer version wrote into the entry before it, raw,
// is kept, unless the job is deleted.
func encodeAfter(raw []byte, before scu.Job, e scu.Event) ([]byte, error) {
	whole, err := json.Marshal(e)
	if err != nil || e.Type == scu.EventDeleted {
		return whole, err
	}
	var stored struct {
		Job json.RawMessage `json:"job"`
	}
	if err := json.Unmarshal(raw, &stored); err != nil {
		return nil, err
	}
	known, err := json.Marshal(before)
	if err != nil || bytes.Equal(stored.Job, known) {
		return whole, err
	}
	after, err := json.Marshal(e.Job)
	if err != nil {
		return nil, err
	}
	return json.Marshal(struct {
		Type    scu.EventType   `json:"type"`
		Time    time.Time       `json:"time"`
		Job     json.RawMessage `json:"job"`
		Version int             `json:"version,omitempty"`
	}{e.Type, e.Time, carry(stored.Job, known, after), e.Version})
}

// carry returns the job of a new entry with what a newer version wrote into the one
// before and this one doesn't know. raw is the job as it was stored, before the same as
// this version knows it, and after the new one.
func carry(raw, before, after json.RawMessage) json.RawMessage {
	if bytes.Equal(raw, before) {
		return after
	}
	var r, b, a map[string]json.RawMessage
	if fields(raw, &r) && fields(before, &b) && fields(after, &a) {
		for k, v := range r {
			known, isKnown := b[k]
			changed, isThere := a[k]
			switch {
			case isKnown && isThere:
				a[k] = carry(v, known, changed)
			case !isKnown && !isThere:
				a[k] = v
			}
		}
		return encoded(a, after)
	}
	var rs, bs, as []json.RawMessage
	if elements(raw, &rs) && elements(before, &bs) && elements(after, &as) && len(rs) == len(bs) {
		for i := range as {
			for j := range bs { // elements move up where others go
				if bytes.Equal(bs[j], as[i]) {
					as[i] = rs[j]
					break
				}
			}
		}
		return encoded(as, after)
	}
	return after
}

func fields(b json.RawMessage, to *map[string]json.RawMessage) bool {
	return bytes.HasPrefix(b, []byte("{")) && json.Unmarshal(b, to) == nil
}

func elements(b json.RawMessage, to *[]json.RawMessage) bool {
	return bytes.HasPrefix(b, []byte("[")) && json.Unmarshal(b, to) == nil
}

func encoded(v any, otherwise json.RawMessage) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return otherwise
	}
	return b
}
