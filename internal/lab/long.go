package lab

import "testing"

// Long begins a test that make test leaves to make test-all: make test ends in
// minutes, and has a shorter test of the same thing.
func Long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("it takes long: make test-all runs it")
	}
}
