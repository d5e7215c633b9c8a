package cowstore

import (
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// index holds the committed exceptions twice: as the list in commit order, and
// as a hash table from the origin's chunk to the place in the list. It takes
// about 40 bytes an exception and no pointers, so that the garbage collector
// does not look at it. One goroutine changes it while any number look up.
//
// The table is split by hash into shards that grow one by one: a lookup never
// waits for more than a small part of the table to be copied. Chunks that follow
// one another are mostly asked for together, and what a lookup costs is a line
// of memory; so the chunks of a group share the hash and lie side by side.
type index struct {
	seed   [2]uint64
	shards [1 << shardBits]shard
	blocks atomic.Pointer[[]*block] // grows only; the writer appends and publishes
	n      uint64
}

const (
	shardBits = 8
	groupBits = 3 // a group's slots are a cache line
	groupLen  = 1 << groupBits
	blockBits = 10
	blockLen  = 1 << blockBits
	minSlots  = 8
)

type block [blockLen]Exception

// shard is an open-addressing table with linear probing. A slot is a tag of 32
// bits, then the place in the list plus one; 0 is empty. It is at most half full,
// because what a group fills is in the way of another with all its slots.
type shard struct {
	mu    sync.RWMutex
	slots []uint64
	used  int
}

func newIndex() *index {
	x := &index{seed: [2]uint64{rand.Uint64(), rand.Uint64() | 1}}
	x.blocks.Store(new([]*block))
	return x
}

// at returns the exception at a place in the list. Its caller holds a shard's
// lock, or is the writer.
func (x *index) at(place uint64) *Exception {
	return &(*x.blocks.Load())[place>>blockBits][place%blockLen]
}

// find returns the shard of a chunk and its tag: the hash of its group, which
// nobody who writes to the origin can know, and which of the group it is.
func (x *index) find(old uint64) (*shard, uint32) {
	hi, lo := bits.Mul64(old>>groupBits^x.seed[0], x.seed[1])
	hi, lo = bits.Mul64(hi^lo, 0x9e3779b97f4a7c15)
	tag := uint32(hi^lo)&^(groupLen-1) | uint32(old%groupLen)
	return &x.shards[tag>>(32-shardBits)], tag
}

// get finds the exception of an origin's chunk.
func (x *index) get(old uint64) (uint64, bool) {
	s, tag := x.find(old)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if i, ok := x.slot(s, tag, old); ok {
		return x.at(place(s.slots[i])).New, true
	}
	return 0, false
}

// run finds chunks as Store.Run does.
func (x *index) run(old, max uint64) (new, n uint64, ok bool) {
	for n < max {
		k := min(max-n, groupLen-(old+n)%groupLen)
		s, tag := x.find(old + n)
		s.mu.RLock()
		for end := n + k; n < end; n++ {
			i, found := x.slot(s, tag, old+n)
			at := uint64(0)
			if found {
				at = x.at(place(s.slots[i])).New
			}
			if n == 0 {
				new, ok = at, found
			} else if found != ok || ok && at != new+n {
				s.mu.RUnlock()
				return new, n, ok
			}
			tag++
		}
		s.mu.RUnlock()
	}
	return new, n, ok
}

func place(slot uint64) uint64 { return slot&0xffffffff - 1 }
func tagOf(slot uint64) uint32 { return uint32(slot >> 32) }

// slot returns where old is in the shard.
func (x *index) slot(s *shard, tag uint32, old uint64) (int, bool) {
	if s.used == 0 {
		return 0, false
	}
	mask := len(s.slots) - 1
	for i := int(tag) & mask; s.slots[i] != 0; i = (i + 1) & mask {
		if tagOf(s.slots[i]) == tag && x.at(place(s.slots[i])).Old == old {
			return i, true
		}
	}
	return 0, false
}

// add appends an exception to the list; false if its Old is there already.
func (x *index) add(e Exception) bool {
	blocks := *x.blocks.Load()
	if int(x.n>>blockBits) == len(blocks) {
		blocks = append(blocks, new(block))
		x.blocks.Store(&blocks)
	}
	s, tag := x.find(e.Old)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, dup := x.slot(s, tag, e.Old); dup {
		return false
	}
	*x.at(x.n) = e
	x.n++
	if 2*(s.used+1) > len(s.slots) {
		s.grow()
	}
	s.put(uint64(tag)<<32 | x.n)
	s.used++
	return true
}

func (s *shard) put(slot uint64) {
	mask := len(s.slots) - 1
	i := int(tagOf(slot)) & mask
	for s.slots[i] != 0 {
		i = (i + 1) & mask
	}
	s.slots[i] = slot
}

func (s *shard) grow() {
	was := s.slots
	s.slots = make([]uint64, max(minSlots, 2*len(was)))
	for _, slot := range was {
		if slot != 0 {
			s.put(slot)
		}
	}
}

// drop takes the last exception from the list.
func (x *index) drop() {
	e := *x.at(x.n - 1)
	s, tag := x.find(e.Old)
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := x.slot(s, tag, e.Old)
	s.remove(i)
	s.used--
	x.n--
}

// remove empties slot i and moves up those behind it that would otherwise no
// longer be found.
func (s *shard) remove(i int) {
	mask := len(s.slots) - 1
	for j := (i + 1) & mask; s.slots[j] != 0; j = (j + 1) & mask {
		home := int(tagOf(s.slots[j])) & mask
		if (j-home)&mask >= (j-i)&mask {
			s.slots[i] = s.slots[j]
			i = j
		}
	}
	s.slots[i] = 0
}
