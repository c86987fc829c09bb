//go:build !(cuda && cgo && linux)

package nvml

import "context"

// Driver returns the version of NVIDIA's driver.
func Driver() (string, error) { return "", errNone }

// Cards lists the machine's GPUs.
func Cards() ([]Card, error) { return nil, errNone }

// Read returns a card by its UUID; ok reports whether anything is known of it.
func Read(string) (c Card, ok bool) { return c, false }

// Watch reports faults of the cards with these UUIDs until ctx ends.
func Watch(context.Context, []string, func(Fault)) error { return errNone }
