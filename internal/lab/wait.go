package lab

import "time"

// pollEvery is how often a condition is looked at: well above what a look costs
// in a guest, well below what a person notices.
const pollEvery = 10 * time.Millisecond

// Eventually waits until f returns nil, looking again and again. At the deadline
// the test fails with f's last error.
func Eventually(t interface {
	Helper()
	Fatalf(string, ...any)
}, limit time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", limit, err)
			return
		}
		time.Sleep(pollEvery)
	}
}
