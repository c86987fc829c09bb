package scu

import (
	"bytes"
	_ "embed"
	"encoding/json"
)

// configSchema is made from config.go's comments, types and defaults and check.go's
// ranges: go test . -run ConfigSchema -update writes it, and a test checks it.
//
//go:embed config.schema.json
var configSchema []byte

// ConfigSchema is the JSON schema (draft 2020-12) of what config_overrides take: each
// field with its type, default, range, and what it does and may do wrong.
func ConfigSchema() json.RawMessage { return configSchema }

// ConfigField is a field of [Config], for help and completion.
type ConfigField struct {
	Path        string // dotted, as in lora.r
	Type        string // of JSON: "integer", "number", "boolean", "string", "array", "object"
	Description string
	Default     json.RawMessage
	Minimum     *float64
	Maximum     *float64
	Enum        []string
}

// schemaNode is what of a schema is read again.
type schemaNode struct {
	Type        []string              `json:"type"`
	Description string                `json:"description"`
	Default     json.RawMessage       `json:"default"`
	Minimum     *float64              `json:"minimum"`
	Maximum     *float64              `json:"maximum"`
	Enum        []string              `json:"enum"`
	Order       []string              `json:"x-order"`
	Properties  map[string]schemaNode `json:"properties"`
}

// ConfigFields lists every field that a user can set, in config.go's order.
func ConfigFields() []ConfigField {
	var root schemaNode
	if err := json.Unmarshal(configSchema, &root); err != nil {
		panic(err) // a test reads it
	}
	return root.fields("")
}

func (n schemaNode) fields(path string) (all []ConfigField) {
	for _, name := range n.Order {
		p := n.Properties[name]
		if len(p.Order) > 0 {
			all = append(all, p.fields(path+name+".")...)
			continue
		}
		var def bytes.Buffer
		if len(p.Default) > 0 {
			if err := json.Compact(&def, p.Default); err != nil {
				panic(err) // a test reads it
			}
		}
		all = append(all, ConfigField{path + name, p.Type[0], p.Description, def.Bytes(), p.Minimum, p.Maximum, p.Enum})
	}
	return all
}

// Overrides are the fields of c that differ from the defaults of its law, as
// config_overrides take them: a typed way to write them in Go.
func (c Config) Overrides() map[string]any {
	defaults := DefaultConfig()
	defaults.Control = DefaultControl(c.Control.Law)
	out := difference(object(c), object(defaults))
	for name := range refused {
		delete(out, name)
	}
	if control, ok := out["control"].(map[string]any); ok || c.Control.Law != DefaultConfig().Control.Law {
		if control == nil {
			control = map[string]any{}
			out["control"] = control
		}
		control["law"] = c.Control.Law // gains and bounds belong to it
	}
	return out
}

// object is a Config as JSON has it.
func object(c Config) (m map[string]any) {
	b, err := json.Marshal(c)
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		panic(err) // a Config is plain data
	}
	return m
}

// difference is what of a isn't the same in b.
func difference(a, b map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range a {
		inner, ok := v.(map[string]any)
		other, same := b[k].(map[string]any)
		switch {
		case ok && same && k != "rank_pattern" && k != "alpha_pattern":
			if d := difference(inner, other); len(d) > 0 {
				out[k] = d
			}
		case !equalJSON(v, b[k]):
			out[k] = v
		}
	}
	return out
}

func equalJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
