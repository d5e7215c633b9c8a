package lab

import (
	"fmt"
	"strings"
)

const (
	fillBlock = 4096 // bytes the guest writes and syncs at once
	fillRing  = 1024 // blocks, after which it begins anew
)

// CheckFill tells whether a dump of the guest's /fill holds every write the guest acknowledged: in
// each block of the ring the last acknowledged number for it, or, in the one block that may have
// been on its way, the next. A hole where nothing was acknowledged is fine.
func CheckFill(fill string, acked int) error {
	for n := max(1, acked-fillRing+1); n <= acked; n++ {
		at := n % fillRing * fillBlock
		if at+fillBlock > len(fill) {
			return fmt.Errorf("lab: fill: write %d was acknowledged, but the file ends before it, at %d bytes", n, len(fill))
		}
		block := fill[at : at+fillBlock]
		if block == fillPattern(n) {
			continue
		}
		if next := n + fillRing; next == acked+1 && block == fillPattern(next) {
			continue
		}
		return fmt.Errorf("lab: fill: write %d was acknowledged, but its block begins with %q", n, block[:16])
	}
	return nil
}

func fillPattern(n int) string { return strings.Repeat(fmt.Sprintf("count=%09d\n", n), fillBlock/16) }
