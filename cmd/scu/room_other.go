//go:build !linux && !darwin

package main

// roomIn knows of no room here.
func roomIn(string) error { return nil }
