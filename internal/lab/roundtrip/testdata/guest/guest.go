// Package guest is what the tests of the hand-over hand over.
package guest

func covered(n int) int {
	if n > 0 {
		return n
	}
	return 0
}
