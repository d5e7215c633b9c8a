package userspace

import (
	"errors"

	"cowhand/dmcore/thinmeta"
)

// mostNew is how many bytes get new places at a time.
const mostNew = 16 << 20

// write overwrites blocks that are the device's own where they are. Others get new
// places, which are filled before the metadata refers to them. What finds the pool
// full waits until that changes.
func (t *thinTarget) write(p []byte, off int64) error {
	for len(p) > 0 {
		var n int64
		err := t.inPool(func() (err error) {
			n, err = t.overwrite(p, off)
			if n == 0 && err == nil {
				n, err = t.writeNew(p, off)
			}
			return err
		})
		p, off = p[n:], off+n
		if errors.Is(err, errPoolFull) {
			err = t.pool.waitForRoom(t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// overwrite writes as far as blocks may stay where they are.
func (t *thinTarget) overwrite(p []byte, off int64) (done int64, err error) {
	begin, end := t.blocks(off, int64(len(p)))
	defer t.td.blocks.unlock(t.td.blocks.lock(begin, end, false))
	data := t.pool.data()
	if data == nil {
		return 0, errPoolFailed
	}
	for done < int64(len(p)) {
		x, err := t.find(off+done, int64(len(p))-done)
		if err != nil || !x.mapped || x.shared {
			return done, err
		}
		if err := data.write(p[done:done+x.n], x.at); err != nil {
			return done, err
		}
		done += x.n
	}
	return done, nil
}

// writeNew writes a run of blocks that need new places, as far as there is room. It
// returns 0 if the first of them needs none any more.
func (t *thinTarget) writeNew(p []byte, off int64) (int64, error) {
	size := t.pool.block
	if most := max(size-off%size, mostNew/size*size-off%size); int64(len(p)) > most {
		p = p[:most]
	}
	begin, end := t.blocks(off, int64(len(p)))
	defer t.td.blocks.unlock(t.td.blocks.lock(begin, end, true))
	data := t.pool.data()
	if data == nil {
		return 0, errPoolFailed
	}
	list, done, err := t.places(p, off)
	if err == nil {
		err = t.fillAll(data, list, p, off)
	}
	if err != nil {
		for _, n := range list {
			t.pool.giveBack(n.d)
		}
		return 0, err
	}
	if len(list) == 0 {
		return 0, nil
	}
	if err := t.pool.insert(t.td, list); err != nil {
		return 0, err
	}
	return done, nil
}

// places finds new places for blocks, until one needs none or there is no room, and
// tells how many bytes have one.
func (t *thinTarget) places(p []byte, off int64) (list []newPlace, done int64, err error) {
	size := t.pool.block
	var old []piece
	for at := off; at < off+int64(len(p)); {
		x, err := t.find(at, min(off+int64(len(p))-at, size-at%size))
		if err != nil {
			return nil, 0, err
		}
		if x.mapped && !x.shared {
			break
		}
		old = append(old, x)
		at += x.n
	}
	t.pool.inRow.Lock()
	defer t.pool.inRow.Unlock()
	for _, x := range old {
		d, err := t.pool.allocate()
		if errors.Is(err, errPoolFull) && done > 0 {
			break
		}
		if err != nil {
			return list, 0, err
		}
		list = append(list, newPlace{thinmeta.VBlock((off + done) / size), d, x})
		done += x.n
	}
	return list, done, nil
}

// fillAll fills new places. Blocks that are written whole and lie in a row are one
// write.
func (t *thinTarget) fillAll(data *lower, list []newPlace, p []byte, off int64) error {
	size := t.pool.block
	for len(list) > 0 {
		k, n := 1, list[0].was.n
		for n == int64(k)*size && k < len(list) && list[k].d == list[0].d+thinmeta.DBlock(k) && list[k].was.n == size {
			k, n = k+1, n+size
		}
		var err error
		if n == int64(k)*size {
			err = data.write(p[:n], int64(list[0].d)*size)
		} else {
			err = t.fill(data, list[0].d, list[0].was, p[:n], off)
		}
		if err != nil {
			return err
		}
		list, p, off = list[k:], p[n:], off+n
	}
	return nil
}

// fill gives a new block its contents: what x, where the block was, has, and p, a part
// of it, over that.
func (t *thinTarget) fill(data *lower, d thinmeta.DBlock, x piece, p []byte, off int64) error {
	size := t.pool.block
	in := off % size
	to := int64(d) * size
	old := func(b []byte, at int64) error { clear(b); return nil }
	switch {
	case x.mapped:
		old = func(b []byte, at int64) error { return data.read(b, x.at-in+at) }
	case t.origin != nil:
		old = func(b []byte, at int64) error { return t.readOrigin(b, off-in+at) }
	case t.pool.skipsZeroing():
		return data.write(p, to+in)
	case size > copyBuffer && data.zero(to, size, true) == nil:
		return data.write(p, to+in)
	}
	buf := t.pool.buffer()
	defer t.pool.buffers.Put(buf)
	for at := int64(0); at < size; at += copyBuffer {
		b := (*buf)[:min(size-at, copyBuffer)]
		lo, hi := max(in, at), min(in+int64(len(p)), at+int64(len(b)))
		if hi-lo < int64(len(b)) {
			if err := old(b, at); err != nil {
				return err
			}
		}
		if lo < hi {
			copy(b[lo-at:], p[lo-in:hi-in])
		}
		if err := data.write(b, to+at); err != nil {
			return err
		}
	}
	return nil
}

func (p *thinPool) skipsZeroing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bound != nil && p.bound.plain.Features.SkipBlockZeroing
}

// buffer is to be put back into buffers.
func (p *thinPool) buffer() *[]byte {
	if b, ok := p.buffers.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, min(p.block, copyBuffer))
	return &b
}
