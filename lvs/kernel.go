package lvs

// Kernel is a table that can be read and changed: the real one (lvs/kernel), or
// the fake that tests use (lvs/lvstest).
type Kernel interface {
	// Read returns the table as it is.
	Read() (Table, error)
	// Do takes the changes in order, all of them even when some are refused, and
	// returns one verdict each: nil, or a *ChangeError.
	Do([]Change) []error
}
