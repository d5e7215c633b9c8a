package userspace

import (
	"errors"

	"cowhand/dmcore/thinmeta"
)

// mostUnmapped is how many blocks are unmapped at a time, and mostFreed how many may
// wait to be discarded below.
const (
	mostUnmapped = 1 << 13
	mostFreed    = 1 << 16
)

// discard unmaps whole blocks (drivers/md/dm-thin.c, process_discard_bio).
func (t *thinTarget) discard(off, n int64) error {
	if t.plainPool().IgnoreDiscard {
		return errors.ErrUnsupported
	}
	return t.inPool(func() error {
		size := t.pool.block
		err := t.unmap(uint64((off+size-1)/size), uint64((off+n)/size))
		if errors.Is(err, errPoolReadOnly) {
			return nil // nobody may rely on a discard
		}
		return err
	})
}

// zero unmaps whole blocks, which then read as zeroes, if it may, and writes zeroes
// beside them.
func (t *thinTarget) zero(off, n int64, mayUnmap bool) error {
	size := t.pool.block
	begin, end := (off+size-1)/size*size, (off+n)/size*size
	if !mayUnmap || t.origin != nil || begin >= end || t.plainPool().IgnoreDiscard {
		return errors.ErrUnsupported
	}
	err := t.inPool(func() error {
		if err := t.unmap(uint64(begin/size), uint64(end/size)); err != nil {
			return err
		}
		return t.pool.settle(t.td) // a write is to outlive this process
	})
	if errors.Is(err, errPoolReadOnly) {
		return errors.ErrUnsupported
	}
	if err == nil {
		err = t.clear(off, begin-off)
	}
	if err == nil {
		err = t.clear(end, off+n-end)
	}
	return err
}

// clear writes zeroes to a part of a block, unless it is not mapped.
func (t *thinTarget) clear(off, n int64) error {
	if n == 0 {
		return nil
	}
	hole := false
	err := t.inPool(func() error {
		begin, end := t.blocks(off, n)
		defer t.td.blocks.unlock(t.td.blocks.lock(begin, end, false))
		x, err := t.find(off, n)
		hole = err == nil && !x.mapped
		return err
	})
	if err != nil || hole {
		return err
	}
	return t.write(make([]byte, n), off)
}

func (t *thinTarget) plainPool() (features struct{ IgnoreDiscard, PassDown bool }) {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	if b := t.pool.bound; b != nil {
		features.IgnoreDiscard, features.PassDown = b.plain.Features.IgnoreDiscard, b.passesDown()
	}
	return features
}

// unmap unmaps the blocks from begin up to end.
func (t *thinTarget) unmap(begin, end uint64) error {
	for begin < end {
		next, err := t.unmapSome(begin, end)
		if err != nil {
			return err
		}
		begin = next
	}
	return nil
}

// unmapSome unmaps some blocks from begin on, and tells with which to go on. The
// blocks in which they were are kept from being allocated until they are discarded
// below.
func (t *thinTarget) unmapSome(begin, end uint64) (next uint64, err error) {
	p := t.pool
	if p.modeNow() >= poolOutOfMetadata {
		return 0, errPoolReadOnly
	}
	// What is mapped behind the run comes next; what is mapped there meanwhile is
	// nobody's concern who discards at the same time.
	begin, next, err = t.mappedRun(begin, end)
	if err != nil || begin == next {
		return end, err
	}
	defer t.td.blocks.unlock(t.td.blocks.lock(begin, next, true))
	var runs []poolRun
	n := uint64(0)
	if t.plainPool().PassDown {
		err = p.meta.Read(func(r *thinmeta.Reader) error {
			for run, err := range r.Mappings(t.td.id, thinmeta.VBlock(begin), thinmeta.VBlock(next)) {
				if err != nil {
					return err
				}
				runs = append(runs, poolRun{run.Data, run.Length})
				n += run.Length
			}
			return nil
		})
		if err != nil {
			return 0, p.settled(err)
		}
	}
	p.tx.Lock()
	defer p.tx.Unlock()
	for _, r := range runs {
		p.meta.Hold(r.first, r.n)
	}
	p.freed, p.freedSum = append(p.freed, runs...), p.freedSum+n
	if _, err := p.meta.Unmap(t.td.id, thinmeta.VBlock(begin), thinmeta.VBlock(next)); err != nil {
		return 0, p.changed(err)
	}
	p.note(t.td)
	if p.freedSum > mostFreed || p.modeNow() == poolFull {
		return next, p.commitLocked()
	}
	return next, nil
}

// mappedRun finds the first blocks that are mapped from begin up to end, at most
// mostUnmapped of them; begin is next if there are none.
func (t *thinTarget) mappedRun(begin, end uint64) (first, next uint64, err error) {
	first, next = end, end
	n := uint64(0)
	err = t.pool.meta.Read(func(r *thinmeta.Reader) error {
		for run, err := range r.Mappings(t.td.id, thinmeta.VBlock(begin), thinmeta.VBlock(end)) {
			if err != nil {
				return err
			}
			if n == 0 {
				first = uint64(run.Begin)
			}
			if n += run.Length; n >= mostUnmapped {
				next = uint64(run.Begin) + min(run.Length, mostUnmapped)
				break
			}
		}
		return nil
	})
	return first, next, t.pool.settled(err)
}

// passDown discards the blocks that the commit before freed, if no other thin device
// has them, and lets them be allocated, each once: two devices may have let go what
// they shared, and in between it may have become another's. The kernel discards before it commits, so
// that a power cut may leave others without blocks that they had on disk. tx is held.
func (p *thinPool) passDown() {
	data := p.data()
	for _, r := range joined(p.freed) {
		for r.n > 0 {
			k := uint64(0)
			for k < r.n && p.unused(r.first+thinmeta.DBlock(k)) {
				k++
			}
			if k > 0 && data != nil {
				// A device that does not discard has lost nothing by it.
				_ = data.discard(int64(r.first)*p.block, int64(k)*p.block)
			}
			k = min(r.n, k+1)
			p.meta.Free(r.first, k)
			r.first, r.n = r.first+thinmeta.DBlock(k), r.n-k
		}
	}
	p.freed, p.freedSum = nil, 0
}

func (p *thinPool) unused(d thinmeta.DBlock) bool {
	n, err := p.meta.Uses(d)
	return err == nil && n == 0
}
