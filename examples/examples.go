// Package examples carries the example text inside the binary, so that scu demo
// runs wherever the binary is. README.md says where the text comes from.
package examples

import _ "embed"

// Keeper is a lighthouse keeper's log, some 17 KB of plain text in a style that
// the built-in model has not seen.
//
//go:embed text/keeper.txt
var Keeper []byte

// Config is how the demo trains on it: a JSON object of configuration fields that
// differ from their defaults.
//
//go:embed text/config.json
var Config []byte
