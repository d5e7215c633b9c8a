package thinmeta

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// model is what a pool is to hold.
type model struct {
	devices map[uint32]*thin
	tid     uint64
	time    uint32
	held    bool
	data    uint64
	stamps  map[DBlock]uint64 // what was written into data blocks
}

type thin struct {
	Details
	blocks map[VBlock]Mapping
}

func newModel(data uint64) *model {
	return &model{devices: map[uint32]*thin{}, data: data, stamps: map[DBlock]uint64{}}
}

func (m *model) clone() *model {
	c := *m
	c.devices, c.stamps = map[uint32]*thin{}, maps.Clone(m.stamps)
	for id, d := range m.devices {
		c.devices[id] = &thin{d.Details, maps.Clone(d.blocks)}
	}
	return &c
}

// used is how many data blocks there are mappings to.
func (m *model) used() uint64 {
	used := map[DBlock]bool{}
	for _, d := range m.devices {
		for _, b := range d.blocks {
			used[b.Data] = true
		}
	}
	return uint64(len(used))
}

// read reads all of a transaction.
func read(t testing.TB, r *Reader) *model {
	t.Helper()
	sb := r.Superblock()
	m := newModel(r.Usage().Data)
	m.tid, m.time, m.held = sb.TransactionID, sb.Time, sb.HeldRoot != 0
	devices, err := r.Devices()
	must(t, err)
	for _, d := range devices {
		m.devices[d.ID] = &thin{d.Details, map[VBlock]Mapping{}}
		for run, err := range r.Mappings(d.ID, 0, maxVBlock) {
			must(t, err)
			for i := range run.Length {
				m.devices[d.ID].blocks[run.Begin+VBlock(i)] = Mapping{run.Data + DBlock(i), run.Time}
			}
		}
	}
	return m
}

func (m *model) equal(other *model) bool {
	return m.tid == other.tid && m.time == other.time && m.held == other.held && m.data == other.data &&
		maps.EqualFunc(m.devices, other.devices, func(a, b *thin) bool {
			return a.Details == b.Details && maps.Equal(a.blocks, b.blocks)
		})
}

// diff tells how another differs, stamps apart.
func (m *model) diff(other *model) string {
	if m.equal(other) {
		return ""
	}
	return cmp.Diff(m, other, cmp.AllowUnexported(model{}, thin{}), cmpopts.IgnoreFields(model{}, "stamps"))
}

// random is a pool that is changed at random, and what it is to hold.
type random struct {
	t    testing.TB
	rng  *rand.Rand
	p    *Pool
	now  *model
	last *model // as committed
	span int    // of blocks of a device
	many int    // devices
	data blockdev.Device
	next uint64 // stamp
}

// stamp writes into a data block, as its user would before it is mapped.
func (r *random) stamp(b DBlock) error {
	if r.data == nil {
		return nil
	}
	r.next++
	r.now.stamps[b] = r.next
	sector := make([]byte, dmcore.SectorSize)
	le.PutUint64(sector, r.next)
	_, err := r.data.WriteAt(sector, int64(b)*dmcore.SectorSize)
	return err
}

// step changes something. It returns an error only of the device.
func (r *random) step() error {
	r.t.Helper()
	ids := slices.Sorted(maps.Keys(r.now.devices))
	id := uint32(r.rng.IntN(r.many))
	pick := func() uint32 { return ids[r.rng.IntN(len(ids))] }
	switch n := r.rng.IntN(100); {
	case n < 3 || len(ids) == 0:
		err := r.p.CreateThin(id)
		if r.now.devices[id] != nil {
			return r.refused(err, "create an id that is taken")
		}
		if err == nil {
			r.now.devices[id] = &thin{Details{0, r.now.tid, r.now.time, r.now.time}, map[VBlock]Mapping{}}
		}
		return r.full(err)
	case n < 8:
		origin := pick()
		err := r.p.CreateSnapshot(id, origin)
		if r.now.devices[id] != nil {
			return r.refused(err, "create an id that is taken")
		}
		if err == nil {
			r.now.time++
			o := r.now.devices[origin]
			o.SnapshottedTime = r.now.time
			r.now.devices[id] = &thin{Details{o.MappedBlocks, r.now.tid, r.now.time, r.now.time}, maps.Clone(o.blocks)}
		}
		return r.full(err)
	case n < 11:
		err := r.p.Delete(id)
		if r.now.devices[id] == nil {
			return r.refused(err, "delete what is not there")
		}
		if err == nil {
			delete(r.now.devices, id)
		}
		return r.full(err)
	case n < 22:
		return r.unmap(pick())
	case n < 24:
		to := r.now.tid + 1
		if err := r.p.SetTransactionID(to, to); err == nil {
			r.t.Error("a wrong transaction id was taken")
		}
		if err := r.p.SetTransactionID(r.now.tid, to); err != nil {
			return r.full(err)
		}
		r.now.tid = to
	case n < 25:
		if r.now.held {
			if err := r.p.ReleaseMetadataSnapshot(); err != nil {
				return r.full(err)
			}
			r.now.held = false
			return nil
		}
		err := r.p.ReserveMetadataSnapshot()
		if err == nil || errors.Is(err, ErrMetadataFull) { // refused behind the commit
			r.last = r.now.clone()
		}
		if err != nil {
			return r.full(err)
		}
		r.now.held = true
	case n < 26:
		more := r.now.data + uint64(r.rng.IntN(100))
		if r.rng.IntN(10) == 0 {
			more += 2 * perBitmap
		}
		if err := r.p.ResizeData(more); err != nil {
			return r.full(err)
		}
		r.now.data = more
	case n < 30:
		return r.commit()
	default:
		return r.provision(pick())
	}
	return nil
}

// full ignores that the pool has no room, and else checks nothing.
func (r *random) full(err error) error {
	if errors.Is(err, ErrMetadataFull) {
		return r.commit() // what was let go can be used now
	}
	return err
}

func (r *random) refused(err error, what string) error {
	if err == nil {
		r.t.Errorf("%s: no error", what)
	}
	if errors.Is(err, blockdev.ErrPowerCut) {
		return err
	}
	return nil
}

func (r *random) commit() error {
	if err := r.p.Commit(); err != nil {
		return err
	}
	r.last = r.now.clone()
	return nil
}

// provision maps a run of blocks, as writes to them would.
func (r *random) provision(id uint32) error {
	d := r.now.devices[id]
	v := VBlock(r.rng.IntN(r.span))
	if r.rng.IntN(20) == 0 {
		v = VBlock(r.rng.Uint64())
	}
	for n := r.rng.IntN(40); n >= 0 && v < maxVBlock; n-- {
		f, ok, err := r.p.Lookup(id, v)
		if err != nil {
			return err
		}
		m, have := d.blocks[v]
		if ok != have || f.Mapping != m || f.Shared != (have && d.SnapshottedTime > m.Time) {
			r.t.Fatalf("device %d, block %d: %v, %t, want %v, %t", id, v, f, ok, m, have)
		}
		if ok && !f.Shared && r.rng.IntN(4) > 0 {
			v++
			continue
		}
		b, err := r.p.Allocate()
		if errors.Is(err, ErrDataFull) {
			return nil
		}
		if err != nil {
			return err
		}
		if r.rng.IntN(50) == 0 {
			r.p.Free(b, 1)
			continue
		}
		if err := r.stamp(b); err != nil {
			return err
		}
		if err := r.p.Map(id, v, b); err != nil {
			r.p.Free(b, 1)
			return r.full(err)
		}
		if !have {
			d.MappedBlocks++
		}
		d.blocks[v] = Mapping{b, r.now.time}
		v++
	}
	return nil
}

func (r *random) unmap(id uint32) error {
	d := r.now.devices[id]
	begin := VBlock(r.rng.IntN(r.span))
	end := begin + VBlock(r.rng.IntN(60))
	switch r.rng.IntN(10) {
	case 0:
		end = begin + VBlock(r.rng.IntN(r.span))
	case 1:
		begin = VBlock(r.rng.Uint64())
		end = maxVBlock
	}
	n, err := r.p.Unmap(id, begin, end)
	if err != nil {
		return r.full(err)
	}
	want := uint64(0)
	for v := range d.blocks {
		if v >= begin && v < end {
			delete(d.blocks, v)
			want++
		}
	}
	if n != want {
		r.t.Fatalf("device %d: %d blocks unmapped from %d to %d, want %d", id, n, begin, end, want)
	}
	d.MappedBlocks -= n
	return nil
}

// sound checks a device, and that it holds one of the models, which it returns.
func sound(t testing.TB, dev blockdev.Device, want ...*model) *model {
	t.Helper()
	rep, err := Check(dev)
	must(t, err)
	if !rep.Clean() || rep.Underfull > 0 || rep.Miscounted > 0 {
		t.Fatalf("check: %+v", rep)
	}
	return holds(t, dev, want...)
}

// holds checks that a device holds one of the models, which it returns.
func holds(t testing.TB, dev blockdev.Device, want ...*model) *model {
	t.Helper()
	r, err := Read(dev)
	must(t, err)
	got := read(t, r)
	for i, w := range want {
		diff := w.diff(got)
		if diff == "" {
			if u := r.Usage().UsedData; w.held && u < w.used() || !w.held && u != w.used() {
				t.Errorf("%d data blocks in use, want %d", u, w.used())
			}
			return w
		}
		if i == len(want)-1 {
			t.Fatalf("none of %d transactions; of the last (-want +got)\n%s", len(want), diff)
		}
	}
	return nil
}
