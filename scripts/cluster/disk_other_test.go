//go:build unix && !linux

package main

import (
	"errors"
	"testing"
)

// disks are there on Linux alone.
type disks struct{ at map[string]string }

func newDisks(testing.TB) (disks, bool)   { return disks{}, false }
func (disks) mount(string, string) error  { return errors.ErrUnsupported }
func (disks) fill(string) (func(), error) { return nil, errors.ErrUnsupported }
