package thinmeta

// counts is how often each of many blocks is referred to. It takes room for the
// neighbourhoods of those that are.
type counts map[uint64]*[perPage]uint32

const perPage = 64

func (c counts) get(b uint64) uint32 {
	if p := c[b/perPage]; p != nil {
		return p[b%perPage]
	}
	return 0
}

func (c counts) inc(b uint64) {
	p := c[b/perPage]
	if p == nil {
		p = new([perPage]uint32)
		c[b/perPage] = p
	}
	p[b%perPage]++
}
