package thinmeta

import (
	"fmt"
	"maps"
	"math/bits"
	"slices"
)

// spaceMap counts the references to blocks, of the data or of the metadata.
// Changed counts are kept in memory until flush puts them into bitmaps.
type spaceMap struct {
	p      *Pool
	what   string
	isMeta bool
	root   smRoot

	pending map[uint64]uint32   // counts that the bitmaps do not have yet
	touched map[uint64]struct{} // bitmaps that these are in
	lowest  uint64              // all blocks below are in use, held, or were in use when the transaction began
	freed   uint64              // the lowest block freed since; lowest starts from it in the next transaction
	taken   uint64              // blocks allocated since

	// old is the space map of the last commit, which decides what is free.
	old smRoot

	// index has the index entries of the metadata's bitmaps, and old ones.
	index, oldIndex *[indexEntries]indexEntry
}

func newSpaceMap(p *Pool, what string, root smRoot, index *[indexEntries]indexEntry) *spaceMap {
	s := &spaceMap{p: p, what: what, isMeta: index != nil, root: root, index: index}
	s.reset()
	return s
}

// reset begins a transaction.
func (s *spaceMap) reset() {
	s.pending, s.touched = map[uint64]uint32{}, map[uint64]struct{}{}
	s.lowest = min(s.lowest, s.freed)
	s.freed = s.root.blocks
	s.taken = 0
	s.old = s.root
	if s.isMeta {
		old := *s.index
		s.oldIndex = &old
	}
}

func (s *spaceMap) corrupt(b uint64, format string, args ...any) error {
	return fmt.Errorf("thin metadata: %s block %d: %s: %w", s.what, b, fmt.Sprintf(format, args...), ErrCorrupt)
}

// entry is what is known of a bitmap; that of an entry that is not there is 0.
func (s *spaceMap) entry(i uint64) (indexEntry, error) { return s.entryOf(s.root.index, s.index, i) }

func (s *spaceMap) entryOf(root uint64, index *[indexEntries]indexEntry, i uint64) (indexEntry, error) {
	if s.isMeta {
		if i >= indexEntries {
			return indexEntry{}, s.corrupt(i*perBitmap, "is outside the space map")
		}
		return index[i], nil
	}
	value, ok, err := s.p.c.lookup(root, entrySize, i)
	if err != nil || !ok {
		return indexEntry{}, err
	}
	return decodeIndexEntry(value), nil
}

func (s *spaceMap) setEntry(i uint64, e indexEntry) error {
	if s.isMeta {
		s.index[i] = e
		return nil
	}
	root, _, err := s.p.insert(s.root.index, indexValues, i, encodeIndexEntry(e))
	s.root.index = root
	return err
}

// count is how often a block is referred to.
func (s *spaceMap) count(b uint64) (uint32, error) {
	if n, ok := s.pending[b]; ok {
		return n, nil
	}
	if b >= s.root.blocks {
		return 0, s.corrupt(b, "is outside the space map of %d", s.root.blocks)
	}
	e, err := s.entry(b / perBitmap)
	if err != nil || e.bitmap == 0 {
		return 0, err // no bitmap: it is being formatted
	}
	bitmap, err := s.p.c.get(e.bitmap, bitmapKind)
	if err != nil {
		return 0, err
	}
	n := bitmapGet(bitmap, int(b%perBitmap))
	if n <= maxInBitmap {
		return n, nil
	}
	value, ok, err := s.p.c.lookup(s.root.counts, countSize, b)
	if err == nil && !ok {
		err = s.corrupt(b, "has no count in the tree")
	}
	if err != nil {
		return 0, err
	}
	return le.Uint32(value), nil
}

func (s *spaceMap) set(b uint64, n uint32) {
	s.pending[b] = n
	s.touched[b/perBitmap] = struct{}{}
}

// first counts the first reference to a block.
func (s *spaceMap) first(b uint64) {
	s.set(b, 1)
	s.root.used++
}

func (s *spaceMap) inc(b uint64) error {
	n, err := s.count(b)
	switch {
	case err != nil:
		return err
	case n == 0:
		return s.corrupt(b, "is referred to, but free")
	case n+1 == 0:
		return s.corrupt(b, "is referred to too often")
	}
	s.set(b, n+1)
	return nil
}

func (s *spaceMap) dec(b uint64) error {
	n, err := s.count(b)
	switch {
	case err != nil:
		return err
	case n == 0:
		return s.corrupt(b, "is let go, but free")
	}
	s.set(b, n-1)
	if n == 1 {
		s.root.used -= min(1, s.root.used)
		s.freed = min(s.freed, b)
		if s.isMeta {
			s.p.dropped(b)
		}
	}
	return nil
}

// find looks for a block that was free when the transaction began and is free
// now, and for which is holds no reason against it.
func (s *spaceMap) find(against func(b uint64) bool) (b uint64, ok bool, err error) {
	for b = s.lowest; b < s.root.blocks; b++ {
		if b < s.old.blocks {
			if b, err = s.findOld(b); err != nil {
				return 0, false, err
			}
			if b >= s.root.blocks {
				break
			}
		}
		n, err := s.count(b)
		if err != nil {
			return 0, false, err
		}
		if n == 0 && !against(b) {
			s.lowest = b + 1
			return b, true, nil
		}
	}
	s.lowest = s.root.blocks
	return 0, false, nil
}

// findOld is the first block from b on that was free when the transaction began,
// or the first behind the space map of that time.
func (s *spaceMap) findOld(b uint64) (uint64, error) {
	for b < s.old.blocks {
		i := b / perBitmap
		e, err := s.entryOf(s.old.index, s.oldIndex, i)
		if err != nil {
			return 0, err
		}
		end := min((i+1)*perBitmap, s.old.blocks)
		if e.free > 0 {
			bitmap, err := s.p.c.get(e.bitmap, bitmapKind)
			if err != nil {
				return 0, err
			}
			from := max(b, i*perBitmap+uint64(e.noneFreeBefore)) - i*perBitmap
			if j := bitmapFree(bitmap, int(from), int(end-i*perBitmap)); j >= 0 {
				return i*perBitmap + uint64(j), nil
			}
		}
		b = end
	}
	return b, nil
}

// bitmapZeroes is how many counts of a bitmap are 0, those past the end of the
// space map included, as the kernel counts.
func bitmapZeroes(b []byte) uint32 {
	used := 0
	for at := bitmapHeader; at < BlockSize; at += 8 {
		w := le.Uint64(b[at:])
		used += bits.OnesCount64((w | w>>1) & lowBits)
	}
	return uint32(perBitmap - used)
}

// lowBits is the first bit of each count of a word.
const lowBits = 0x5555555555555555

// bitmapFree is the first count of 0 from a place up to another; -1: none.
func bitmapFree(b []byte, from, to int) int {
	for i := from; i < to; {
		if i%32 == 0 {
			if w := le.Uint64(b[bitmapHeader+i/4:]); (w|w>>1)&lowBits == lowBits {
				i += 32
				continue
			}
		}
		if bitmapGet(b, i) == 0 {
			return i
		}
		i++
	}
	return -1
}

// alloc takes a free block.
func (s *spaceMap) alloc() (uint64, error) {
	b, ok, err := s.find(func(uint64) bool { return false })
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, fmt.Errorf("%s: all %d blocks are in use: %w", s.what, s.root.blocks, ErrMetadataFull)
	}
	s.first(b)
	s.taken++
	return b, nil
}

// available is how many blocks can still be taken in this transaction.
func (s *spaceMap) available() uint64 {
	gone := s.old.used + s.taken
	return s.root.blocks - min(gone, s.root.blocks)
}

// extend adds blocks, with their bitmaps.
func (s *spaceMap) extend(blocks uint64) error {
	was := s.root.blocks
	s.root.blocks = blocks
	if part := was % perBitmap; part > 0 {
		// The kernel counts what is past the end as free; others may not.
		i := was / perBitmap
		e, err := s.entry(i)
		if err != nil {
			return err
		}
		b, err := s.p.c.get(e.bitmap, bitmapKind)
		if err != nil {
			return err
		}
		e.free = bitmapZeroes(b)
		if err := s.setEntry(i, e); err != nil {
			return err
		}
	}
	for i := bitmaps(was); i < bitmaps(blocks); i++ {
		nr, err := s.p.meta.alloc()
		if err != nil {
			return err
		}
		s.p.fresh[nr] = struct{}{}
		s.p.c.put(nr, bitmapKind, make([]byte, BlockSize))
		if err := s.setEntry(i, indexEntry{bitmap: nr, free: perBitmap}); err != nil {
			return err
		}
		if err := s.p.c.trim(); err != nil {
			return err
		}
	}
	return nil
}

// flush puts the counts into bitmaps. For the metadata that changes counts
// again, until all that this copies was copied.
func (s *spaceMap) flush() error {
	if len(s.pending) == 0 || s.p.flushing {
		return nil
	}
	s.p.flushing = true
	defer func() { s.p.flushing = false }()
	var index []byte
	if s.isMeta {
		var err error
		if s.root.index, index, err = s.p.shadow(s.root.index, indexKind); err != nil {
			return err
		}
	}
	for len(s.pending) > 0 {
		keys := slices.Sorted(maps.Keys(s.pending))
		for len(keys) > 0 {
			i := keys[0] / perBitmap
			n := 1
			for n < len(keys) && keys[n]/perBitmap == i {
				n++
			}
			if err := s.flushBitmap(i, keys[:n]); err != nil {
				return err
			}
			keys = keys[n:]
		}
	}
	clear(s.touched)
	for i := range indexEntries {
		if s.isMeta {
			copy(index[indexHeader+i*entrySize:], encodeIndexEntry(s.index[i]))
		}
	}
	return nil
}

// flushBitmap puts counts of one bitmap into it.
func (s *spaceMap) flushBitmap(i uint64, keys []uint64) error {
	e, err := s.entry(i)
	if err != nil {
		return err
	}
	if e.bitmap == 0 {
		return s.corrupt(keys[0], "has no bitmap")
	}
	var bitmap []byte
	if e.bitmap, bitmap, err = s.p.shadow(e.bitmap, bitmapKind); err != nil {
		return err
	}
	large := map[uint64]uint32{} // 0: no longer
	for _, b := range keys {
		n, ok := s.pending[b]
		if !ok {
			continue
		}
		delete(s.pending, b)
		j := int(b % perBitmap)
		was := bitmapGet(bitmap, j)
		bitmapSet(bitmap, j, n)
		switch {
		case was == 0 && n > 0:
			if e.noneFreeBefore == uint32(j) {
				e.noneFreeBefore++
			}
		case was > 0 && n == 0:
			e.noneFreeBefore = min(e.noneFreeBefore, uint32(j))
		}
		switch {
		case n > maxInBitmap:
			large[b] = n
		case was > maxInBitmap:
			large[b] = 0
		}
	}
	e.free = bitmapZeroes(bitmap)
	if err := s.setEntry(i, e); err != nil {
		return err
	}
	for _, b := range slices.Sorted(maps.Keys(large)) {
		if n := large[b]; n > 0 {
			s.root.counts, _, err = s.p.insert(s.root.counts, countValues, b, le.AppendUint32(nil, n))
		} else {
			s.root.counts, _, err = s.p.remove(s.root.counts, countValues, b, b)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
