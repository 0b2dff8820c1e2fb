package keepalived

import "testing"

func TestStates(t *testing.T) {
	for state, want := range map[string]int{"INIT": 0, "BACKUP": 1, "MASTER": 2, "LEAVING": 2, "FAULT": 3, "WAITING": 3} {
		if got := StateNumber(StateName(state)); got != want {
			t.Errorf("%s is %d, want %d", state, got, want)
		}
	}
}
