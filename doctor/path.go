package doctor

// Hop is one stage of a connection's way, as far as one host can see it.
type Hop struct {
	What   string `json:"what"`
	Broken bool   `json:"broken"` // the way ends here
}

// String is the hop in one line.
func (h Hop) String() string {
	if h.Broken {
		return "path: BROKEN: " + h.What
	}
	return "path: " + h.What
}
