//go:build !linux && !darwin

package main

// diskRoom isn't known here.
func diskRoom(string) (free, size uint64, ok bool) { return 0, 0, false }

// handleLimit isn't known here.
func handleLimit() (n uint64, ok bool) { return 0, false }
