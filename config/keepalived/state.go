package keepalived

// StateName is the state of an instance as keepalived knows it: who hands over still
// serves, and who waits for something cannot run.
func StateName(state string) string {
	switch state {
	case "LEAVING":
		return "MASTER"
	case "WAITING":
		return "FAULT"
	}
	return state
}

// StateNumber is keepalived's number for a state of its own, in its dumps and for
// those that read them.
func StateNumber(state string) int {
	return map[string]int{"INIT": 0, "BACKUP": 1, "MASTER": 2, "FAULT": 3}[state]
}
