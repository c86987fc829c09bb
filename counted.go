package scu

import "fmt"

// Counted writes n and what with the regular plural: "1 block", "2 blocks".
func Counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
