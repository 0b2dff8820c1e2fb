package ipvsadm

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/lvsctl/lvsctl/lvs"
)

// ipvsadm sorts by C comparisons that return the difference of two 32-bit words
// as a signed one. Words more than 2^31 apart compare the wrong way round, and
// three words may even form a ring. What comes out then depends on the way of
// sorting, so this is glibc's: a top-down merge sort.

// sorter sorts positions 0..n-1. Its memory serves many sorts.
type sorter struct {
	order, merged []int
}

// sort returns the positions in order; the slice is good until the next call.
func (s *sorter) sort(n int, cmp func(i, j int) int) []int {
	s.order, s.merged = slices.Grow(s.order[:0], n), slices.Grow(s.merged[:0], n)
	for i := range n {
		s.order = append(s.order, i)
		s.merged = append(s.merged, 0)
	}
	mergeSort(s.order, s.merged, cmp)
	return s.order
}

func mergeSort(order, tmp []int, cmp func(i, j int) int) {
	if len(order) < 2 {
		return
	}
	half := len(order) / 2
	left, right := order[:half], order[half:]
	mergeSort(left, tmp, cmp)
	mergeSort(right, tmp, cmp)
	out := tmp[:0]
	for len(left) > 0 && len(right) > 0 {
		if cmp(left[0], right[0]) <= 0 {
			out, left = append(out, left[0]), left[1:]
		} else {
			out, right = append(out, right[0]), right[1:]
		}
	}
	// What is left of the right half is in its place already.
	out = append(out, left...)
	copy(order, out)
}

// difference compares as C does.
func difference(a, b uint32) int { return int(int32(a - b)) }

func compareServices(a, b *lvs.Service) int {
	if d := difference(a.Mark, b.Mark); d != 0 {
		return d
	}
	if d := int(a.Family) - int(b.Family); d != 0 {
		return d
	}
	if d := int(a.Protocol) - int(b.Protocol); d != 0 {
		return d
	}
	if a.Mark != 0 {
		return 0
	}
	return compareEndpoints(a.Addr, b.Addr)
}

// compareEndpoints compares as many words as the first address has: an IPv4
// address beside an IPv6 one is a word followed by zeros.
func compareEndpoints(a, b netip.AddrPort) int {
	x, y := addressWords(a.Addr()), addressWords(b.Addr())
	n := 4
	if a.Addr().Is4() {
		n = 1
	}
	for i := range n {
		if d := difference(x[i], y[i]); d != 0 {
			return d
		}
	}
	return int(a.Port()) - int(b.Port())
}

func addressWords(a netip.Addr) (w [4]uint32) {
	if a.Is4() {
		w[0] = ipv4Word(a)
		return w
	}
	b := a.As16()
	for i := range w {
		w[i] = binary.BigEndian.Uint32(b[4*i:])
	}
	return w
}
