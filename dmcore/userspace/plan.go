package userspace

import (
	"errors"
	"sync"
	"sync/atomic"

	"cowhand/dmcore"
	"cowhand/dmcore/cowstore"
)

// copyBuffer is the most that is copied by one read and one write.
const copyBuffer = 1 << 20

// planner lists what a batch has to do: exceptions in the order of allocation,
// copies, which may happen in any order, and writes to be laid over them.
type planner struct {
	e      *exceptions
	length int64
	before planned // of the batch before, which may not be committed yet
	new    planned // of this batch
	list   []cowstore.Exception
	copies []copying
	writes []copying
}

// copying fills a part of the COW device: from data, where that covers, else
// from the origin.
type copying struct {
	from, to int64 // offsets in the origin and in the COW device
	n        int64
	data     []byte // what is written over it, at dataAt from the start
	dataAt   int64
}

// planned is the exceptions of a batch that are not committed, from a chunk of
// the origin to one of the COW device, which is never 0.
type planned map[uint64]*[plannedLen]uint64

// plannedLen chunks are looked up at a time.
const plannedLen = 64

func (p *planner) add(r *request) error {
	for _, sp := range r.spans {
		end := uint64((sp.end-1)>>p.e.shift + 1)
		for c := uint64(sp.off >> p.e.shift); c < end; {
			new, n, there := p.e.store.Run(c, min(end-c, plannedLen-c%plannedLen))
			if there {
				for k := range n {
					p.lay(r, c+k, new+k)
				}
			} else if err := p.addMissing(r, c, n); err != nil {
				return err
			}
			c += n
		}
	}
	return nil
}

// addMissing plans n chunks that have no exception, from c on and in one group.
// A chunk that gets its exception for an earlier request of this batch, or of
// the one before, needs no copy.
func (p *planner) addMissing(r *request, c, n uint64) error {
	before, mine := p.before[c/plannedLen], p.new[c/plannedLen]
	for end := c + n; c < end; c++ {
		new := uint64(0)
		if before != nil {
			new = before[c%plannedLen]
		}
		if new == 0 && mine != nil {
			new = mine[c%plannedLen]
		}
		if new != 0 {
			p.lay(r, c, new)
			continue
		}
		new, err := p.e.store.Allocate()
		if errors.Is(err, cowstore.ErrFull) {
			return errors.Join(dmcore.ErrIO, err)
		}
		if err != nil {
			return err
		}
		if mine == nil {
			mine = &[plannedLen]uint64{}
			p.new[c/plannedLen] = mine
		}
		mine[c%plannedLen] = new
		p.list = append(p.list, cowstore.Exception{Old: c, New: new})
		whole := p.part(r, c)
		whole.to = int64(new) << p.e.shift
		p.push(whole)
	}
	return nil
}

// lay plans that what a write to the snapshot has for chunk c is laid over its
// exception.
func (p *planner) lay(r *request, c, new uint64) {
	if r.data == nil {
		return
	}
	part := p.part(r, c)
	to := int64(new)<<p.e.shift + part.dataAt
	p.writes = append(p.writes, copying{to: to, n: int64(len(part.data)), data: part.data})
}

// part is what a request has for chunk c.
func (p *planner) part(r *request, c uint64) copying {
	start := int64(c) << p.e.shift
	part := copying{from: start, n: min(p.e.chunk(), p.length-start)}
	if r.data != nil {
		lo, hi := max(start, r.base), min(start+p.e.chunk(), r.base+int64(len(r.data)))
		part.data, part.dataAt = r.data[lo-r.base:hi-r.base], lo-start
	}
	return part
}

// push adds a copying, joined to the last one where both are alike and follow
// one another.
func (p *planner) push(c copying) {
	if n := len(p.copies); n > 0 && p.copies[n-1].join(c) {
		return
	}
	p.copies = append(p.copies, c)
}

func (c *copying) join(next copying) bool {
	if c.from+c.n != next.from || c.to+c.n != next.to {
		return false
	}
	switch {
	case c.data == nil && next.data == nil:
	case c.full() && next.full() && follows(c.data, next.data):
		c.data = c.data[:len(c.data)+len(next.data)]
	default:
		return false
	}
	c.n += next.n
	return true
}

// full reports whether the data covers the whole, so that nothing of the origin
// is needed.
func (c *copying) full() bool { return int64(len(c.data)) == c.n }

// follows reports whether b lies right behind a in memory.
func follows(a, b []byte) bool {
	return cap(a) > len(a) && len(b) > 0 && &a[:len(a)+1][len(a)] == &b[0]
}

// copyWorkers is how many chunks are read from the origin at a time. They lie
// anywhere, and the disk may be one that has to seek, or far away.
const copyWorkers = 8

// copy carries out a plan.
func (e *exceptions) copy(s *snapshot, p *planner) error {
	end := s.origin.Size()
	workers := min(len(p.copies), copyWorkers)
	for len(e.buffers) < workers {
		e.buffers = append(e.buffers, nil)
	}
	errs := make([]error, workers)
	var next atomic.Int64
	work := func(k int) {
		for errs[k] == nil {
			i := int(next.Add(1)) - 1
			if i >= len(p.copies) {
				return
			}
			errs[k] = copyOne(s, &p.copies[i], end, &e.buffers[k])
		}
	}
	var all sync.WaitGroup
	for k := 1; k < workers; k++ {
		all.Go(func() { work(k) })
	}
	if workers > 0 {
		work(0)
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for i := range p.writes {
		if err := s.cow.write(p.writes[i].data, p.writes[i].to); err != nil {
			return err
		}
	}
	return nil
}

// copyOne carries out one copying. end is the size of the origin.
func copyOne(s *snapshot, c *copying, end int64, buffer *[]byte) error {
	if c.full() {
		return s.cow.write(c.data, c.to)
	}
	if want := min(c.n, copyBuffer); int64(len(*buffer)) < want {
		*buffer = make([]byte, want)
	}
	room := int64(len(*buffer))
	for pos := int64(0); pos < c.n; pos += room {
		buf := (*buffer)[:min(c.n-pos, room)]
		// The last chunk may reach past the end of the origin.
		have := max(0, min(int64(len(buf)), end-c.from-pos))
		clear(buf[have:])
		if have > 0 {
			if err := s.origin.read(buf[:have], c.from+pos); err != nil {
				return err
			}
		}
		if lo := c.dataAt - pos; c.data != nil && lo < int64(len(buf)) {
			if lo >= 0 {
				copy(buf[lo:], c.data)
			} else if -lo < int64(len(c.data)) {
				copy(buf, c.data[-lo:])
			}
		}
		if err := s.cow.write(buf, c.to+pos); err != nil {
			return err
		}
	}
	return nil
}
