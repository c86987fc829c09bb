//go:build !amd64

package cpu

var vectorLevels = [...]vectors{portable: portableVectors}
