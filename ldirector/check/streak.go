package check

// Streak is the health of a server and how long the run of equal answers is
// that may change it. The zero Streak is Unknown.
type Streak struct {
	Health Health
	// Fails counts failures in a row, Wins good answers in a row.
	Fails, Wins int
}

// Next is the streak after one more answer, and whether the health changed.
//
// An up server goes down with its fall-th failure in a row, a down one comes up
// with its rise-th good answer in a row. Of an unknown server the first answer
// decides: nothing is owed to it, and start-up has to be over in one round.
func (s Streak) Next(well bool, fall, rise int) (Streak, bool) {
	n := Streak{Health: s.Health}
	if well {
		n.Wins = s.Wins + 1
	} else {
		n.Fails = s.Fails + 1
	}
	switch {
	case well && (s.Health == Unknown || s.Health == Down && n.Wins >= rise):
		n.Health = Up
	case !well && (s.Health == Unknown || s.Health == Up && n.Fails >= fall):
		n.Health = Down
	}
	return n, n.Health != s.Health
}
