package userspace_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/thinmeta"
)

const (
	thinSectors = 10*128 + 40 // of each device: the last block is none whole
	thinMost    = 64          // data blocks of the pool at most
)

// thinVol is a thin device in the model.
type thinVol struct {
	*volume
	id      uint32
	undone  map[int]uint64 // what a sector holds if the last discard is lost with its process
	removed bool           // its deletion is on its way
}

func (v *thinVol) name() string { return fmt.Sprint("t", v.id) }

func newThinVol(id uint32, from *volume) *thinVol {
	return &thinVol{volume: from, id: id, undone: map[int]uint64{}}
}

// thinWorld is a pool and what must be in it.
type thinWorld struct {
	*thinRig
	rng        *rand.Rand
	meta, data blockdev.Device
	process    *atomic.Bool // cleared when it is killed
	blocks     int
	rest       string
	tag        uint64
	nextID     uint32
	vols       map[uint32]*thinVol
	making     *thinVol // on its way
	log        []string
}

func newThinWorld(t *testing.T, rng *rand.Rand, meta, data blockdev.Device) *thinWorld {
	w := &thinWorld{rng: rng, meta: meta, data: data, blocks: 12 + rng.IntN(20), vols: map[uint32]*thinVol{}, rest: "0 1 error_if_no_space"}
	if rng.IntN(3) == 0 {
		w.rest = "2 2 error_if_no_space no_discard_passdown"
	}
	w.thinRig = &thinRig{rig: &rig{t: t}}
	if err := w.boot(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *thinWorld) poolTable() string {
	return fmt.Sprintf("0 %d thin-pool meta data 128 %s", w.blocks*128, w.rest)
}

// boot is a new machine with everything mapped.
func (w *thinWorld) boot() error {
	w.thinRig = &thinRig{rig: newRig(w.t)}
	w.process = &atomic.Bool{}
	w.process.Store(true)
	for name, d := range map[dmcore.Dev]blockdev.Device{"meta": w.meta, "data": w.data} {
		s, err := blockdev.NewSection(d, 0, d.Size())
		if err != nil {
			return err
		}
		w.files[name] = &mortal{s, w.process}
	}
	err := w.steps(dmcore.Create, "pool", "", dmcore.Load, "pool", w.poolTable(), dmcore.Resume, "pool", "")
	if err != nil {
		return err
	}
	info, err := w.c.Info(context.Background(), "pool")
	w.pool = info.Dev.Dev()
	for _, id := range w.ids() {
		if err == nil {
			err = w.mapped(w.vols[id])
		}
	}
	return err
}

func (w *thinWorld) ids() []uint32 { return slices.Sorted(maps.Keys(w.vols)) }

// any picks a device; nil if there is none.
func (w *thinWorld) any() *thinVol {
	ids := w.ids()
	if len(ids) == 0 {
		return nil
	}
	return w.vols[ids[w.rng.IntN(len(ids))]]
}

// do runs a command.
func (w *thinWorld) do(cmd dmcore.Command, name, text string) error {
	req := &dmcore.Request{UUID: dmcore.UUID(name), Text: text, NoFlush: w.rng.IntN(2) == 0}
	switch cmd {
	case dmcore.Create:
		req.Name, req.Text = dmcore.Name(name), ""
	case dmcore.Load:
		table, err := dmcore.ParseTable(text)
		if err != nil {
			return err
		}
		req.Table, req.Text = table, ""
	}
	_, err := w.m.Do(context.Background(), cmd, req)
	return err
}

// steps runs commands until one fails; each is a command, a name and a text.
func (w *thinWorld) steps(list ...any) error {
	for ; len(list) > 0; list = list[3:] {
		if err := w.do(list[0].(dmcore.Command), list[1].(string), list[2].(string)); err != nil {
			return err
		}
	}
	return nil
}

func (w *thinWorld) mapped(v *thinVol) error {
	return w.steps(dmcore.Create, v.name(), "",
		dmcore.Load, v.name(), fmt.Sprintf("0 %d thin %s %d", thinSectors, w.pool, v.id), dmcore.Resume, v.name(), "")
}

func (w *thinWorld) make() error {
	if len(w.vols) > 5 {
		return w.remove()
	}
	w.nextID++
	w.making = newThinVol(w.nextID, newVolume(thinSectors))
	if err := w.do(dmcore.Message, "pool", fmt.Sprintf("create_thin %d", w.nextID)); err != nil {
		return err
	}
	return w.made()
}

// made takes a device into the model that is durable.
func (w *thinWorld) made() error {
	v := w.making
	w.vols[v.id], w.making = v, nil
	return w.mapped(v)
}

// snap takes a snapshot, which is on disk, with its origin, when that is done.
func (w *thinWorld) snap() error {
	v := w.any()
	if v == nil || len(w.vols) > 5 {
		return w.make()
	}
	if err := w.do(dmcore.Suspend, v.name(), ""); err != nil {
		return err
	}
	w.nextID++
	w.making = newThinVol(w.nextID, v.clone())
	if err := w.do(dmcore.Message, "pool", fmt.Sprintf("create_snap %d %d", w.nextID, v.id)); err != nil {
		return err
	}
	w.committed()
	clear(v.maybe)
	clear(w.making.maybe)
	if err := w.do(dmcore.Resume, v.name(), ""); err != nil {
		return err
	}
	return w.made()
}

// committed: no discard is undone by the death of the process any more.
func (w *thinWorld) committed() {
	for _, v := range w.vols {
		clear(v.undone)
	}
}

func (w *thinWorld) remove() error {
	v := w.any()
	if v == nil {
		return nil
	}
	if err := w.do(dmcore.Remove, v.name(), ""); err != nil {
		return err
	}
	v.removed = true
	if err := w.do(dmcore.Message, "pool", fmt.Sprintf("delete %d", v.id)); err != nil {
		return err
	}
	w.committed()
	delete(w.vols, v.id)
	return nil
}

func (w *thinWorld) grow() error {
	w.blocks = min(thinMost, w.blocks+1+w.rng.IntN(6))
	return w.steps(dmcore.Load, "pool", w.poolTable(), dmcore.Suspend, "pool", "", dmcore.Resume, "pool", "")
}

func (w *thinWorld) reload() error {
	v := w.any()
	if v == nil {
		return nil
	}
	return w.steps(dmcore.Load, v.name(), fmt.Sprintf("0 %d thin %s %d", thinSectors, w.pool, v.id), dmcore.Resume, v.name(), "")
}

// pause suspends the pool, and perhaps a device before it.
func (w *thinWorld) pause() error {
	v := w.any()
	if v == nil || w.rng.IntN(2) == 0 {
		return w.steps(dmcore.Suspend, "pool", "", dmcore.Resume, "pool", "")
	}
	return w.steps(dmcore.Suspend, v.name(), "", dmcore.Suspend, "pool", "", dmcore.Resume, "pool", "", dmcore.Resume, v.name(), "")
}

func (w *thinWorld) sync() error {
	v := w.any()
	if v == nil {
		return nil
	}
	h, err := w.m.Open(dmcore.Name(v.name()), false)
	if err != nil {
		return err
	}
	if err := errors.Join(h.Sync(), h.Close()); err != nil {
		return err
	}
	clear(v.maybe)
	clear(v.undone)
	return nil
}

// thinIO is one request; after it ran, err tells.
type thinIO struct {
	v    *thinVol
	kind string // read, write, zero, discard
	from int
	vals []uint64 // to be written, or read
	err  error
}

// plan makes requests that can run at once: on one device, none overlaps another,
// unless both read.
func (w *thinWorld) plan(n int) (out []*thinIO) {
	for range n {
		v := w.any()
		if v == nil {
			return nil
		}
		o := &thinIO{v: v, kind: []string{"read", "read", "write", "write", "write", "zero", "discard"}[w.rng.IntN(7)]}
		length := 1 + w.rng.IntN(12)
		if o.kind == "discard" || o.kind == "zero" || w.rng.IntN(4) == 0 {
			length = 1 + w.rng.IntN(500)
		}
		o.from = w.rng.IntN(thinSectors - length + 1)
		if w.rng.IntN(3) == 0 {
			o.from, length = o.from/128*128, min((length+127)/128*128, thinSectors-o.from/128*128)
		}
		o.vals = make([]uint64, length)
		if slices.ContainsFunc(out, func(x *thinIO) bool {
			return x.v == v && (x.kind != "read" || o.kind != "read") && o.from < x.from+len(x.vals) && x.from < o.from+length
		}) {
			continue
		}
		if o.kind == "write" {
			w.tag++
			for i := range o.vals {
				o.vals[i] = w.tag<<16 | uint64(o.from+i)
			}
		}
		if o.kind == "discard" { // of whole blocks alone
			begin, end := (o.from+127)/128*128, (o.from+length)/128*128
			if begin >= end {
				continue
			}
			o.from, o.vals = begin, make([]uint64, end-begin)
		}
		out = append(out, o)
	}
	return out
}

func (w *thinWorld) run(o *thinIO) (err error) {
	h, err := w.m.Open(dmcore.Name(o.v.name()), false)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	off, n := int64(o.from)*512, int64(len(o.vals))*512
	switch o.kind {
	case "discard":
		return h.Discard(off, n)
	case "zero":
		if err := h.Zero(off, n, true); !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		fallthrough
	case "write":
		_, err = h.WriteAt(pack(o.vals), off)
		return err
	}
	p := make([]byte, n)
	if _, err = h.ReadAt(p, off); err == nil {
		o.vals, err = unpack(p)
	}
	return err
}

// io runs requests at once, beside what f does, and takes them into the model.
func (w *thinWorld) io(f func() error) error {
	list := w.plan(1 + w.rng.IntN(6))
	var all sync.WaitGroup
	for _, o := range list {
		all.Go(func() { o.err = w.run(o) })
	}
	err := f()
	all.Wait()
	for _, o := range list {
		err = errors.Join(err, w.account(o))
	}
	return err
}

func (w *thinWorld) account(o *thinIO) error {
	v := o.v
	switch {
	case o.kind == "read" && o.err == nil:
		if err := v.diff(o.from, o.vals); err != nil {
			return fmt.Errorf("%s: read: %w", v.name(), err)
		}
	case o.kind == "read":
	case o.err == nil:
		for i, val := range o.vals {
			k := o.from + i
			if o.kind == "discard" && v.cur[k] != val {
				if _, ok := v.undone[k]; !ok {
					v.undone[k] = v.cur[k]
				}
			} else if o.kind != "discard" {
				delete(v.undone, k)
			}
			v.maybe[k] = append(v.maybe[k], v.cur[k])
			v.cur[k] = val
		}
		return nil
	case errors.Is(o.err, syscall.ENOSPC): // some of it may be there
		got, err := w.read(v)
		if err != nil {
			return err
		}
		for i, val := range o.vals {
			k := o.from + i
			if got[k] != v.cur[k] && got[k] != val {
				return fmt.Errorf("%s: sector %d is %x after a write that failed, want %x or %x", v.name(), k, got[k], v.cur[k], val)
			}
			if got[k] == val {
				delete(v.undone, k)
			}
			v.maybe[k] = append(v.maybe[k], v.cur[k], val)
			v.cur[k] = got[k]
		}
		return nil
	default:
		for i, val := range o.vals {
			v.maybe[o.from+i] = append(v.maybe[o.from+i], val)
		}
	}
	if o.err != nil {
		return fmt.Errorf("%s: %s of %d sectors at %d: %w", v.name(), o.kind, len(o.vals), o.from, o.err)
	}
	return nil
}

func (w *thinWorld) read(v *thinVol) ([]uint64, error) {
	h, err := w.m.Open(dmcore.Name(v.name()), true)
	if err != nil {
		return nil, err
	}
	p := make([]byte, thinSectors*512)
	_, err = h.ReadAt(p, 0)
	if err == nil {
		err = zeroExtents(h, p)
	}
	if err = errors.Join(err, h.Close()); err != nil {
		return nil, err
	}
	return unpack(p)
}

// check compares every device with the model, as does f.
func (w *thinWorld) check(f func(v *thinVol, got []uint64) error) error {
	for _, id := range w.ids() {
		got, err := w.read(w.vols[id])
		if err == nil {
			err = f(w.vols[id], got)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", w.vols[id].name(), err)
		}
	}
	return nil
}

func thinSame(v *thinVol, got []uint64) error { return v.diff(0, got) }

// killed takes what the death of a process left: all but discards.
func killed(v *thinVol, got []uint64) error {
	for k, g := range got {
		if u, ok := v.undone[k]; g != v.cur[k] && (!ok || g != u) {
			return fmt.Errorf("sector %d is %x after the process was killed, want %x", k, g, v.cur[k])
		}
	}
	v.cur = got
	clear(v.undone)
	return nil
}

// settled takes what a power cut left.
func settled(v *thinVol, got []uint64) error {
	clear(v.undone)
	return v.settle(got)
}

func (w *thinWorld) restart() error {
	if err := w.m.Close(); err != nil {
		return err
	}
	w.committed()
	return w.boot()
}

// mortal is a device as a process has it, which does nothing any more once that is
// dead.
type mortal struct {
	*blockdev.Section
	alive *atomic.Bool
}

var errDead = errors.New("the process is dead")

func (d *mortal) living(do func() error) error {
	if !d.alive.Load() {
		return errDead
	}
	return do()
}

func (d *mortal) WriteAt(p []byte, off int64) (n int, err error) {
	err = d.living(func() error { n, err = d.Section.WriteAt(p, off); return err })
	return n, err
}
func (d *mortal) Sync() error { return d.living(d.Section.Sync) }
func (d *mortal) SyncRange(off, n int64) error {
	return d.living(func() error { return d.Section.SyncRange(off, n) })
}
func (d *mortal) Discard(off, n int64) error {
	return d.living(func() error { return d.Section.Discard(off, n) })
}
func (d *mortal) Zero(off, n int64, mayUnmap bool) error {
	return d.living(func() error { return d.Section.Zero(off, n, mayUnmap) })
}

// kill goes on with a new machine on the same devices; the old one is told nothing.
func (w *thinWorld) kill() error {
	w.process.Store(false)
	if err := w.boot(); err != nil {
		return err
	}
	return w.check(killed)
}

func (w *thinWorld) step() error {
	k := w.rng.IntN(100)
	for _, s := range []struct {
		below int
		name  string
		do    func() error
	}{
		{50, "io", func() error { return w.io(func() error { return nil }) }},
		{54, "io, pause", func() error { return w.io(w.pause) }},
		{64, "snap", w.snap},
		{70, "make", w.make},
		{77, "remove", w.remove},
		{80, "grow", w.grow},
		{83, "reload", w.reload},
		{90, "sync", w.sync},
		{93, "restart", w.restart},
		{100, "check", func() error { return w.check(thinSame) }},
	} {
		if k < s.below {
			w.log = append(w.log, s.name)
			return s.do()
		}
	}
	return nil
}

// sound has the metadata checked, by thin_check too where there is one.
func (w *thinWorld) sound(mem *blockdev.Mem) {
	w.t.Helper()
	checkThin(w.t, mem)
	if _, err := exec.LookPath("thin_check"); err != nil {
		return
	}
	p := make([]byte, mem.Size())
	if _, err := mem.ReadAt(p, 0); err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.t.TempDir(), "meta")
	if err := os.WriteFile(path, p, 0o600); err != nil {
		w.t.Fatal(err)
	}
	if out, err := exec.Command("thin_check", path).CombinedOutput(); err != nil {
		w.t.Fatalf("thin_check: %v\n%s", err, out)
	}
}

// TestThinModel does random things to a pool and compares what it holds with the
// model; now and then its process is killed.
func TestThinModel(t *testing.T) {
	episodes(t, 6, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 0))
		meta := blockdev.NewMem(thinMeta)
		w := newThinWorld(t, rng, meta, blockdev.NewMem(thinMost*thinBlock))
		for i := range 150 {
			err := w.step()
			if err == nil && rng.IntN(25) == 0 {
				w.log = append(w.log, "kill")
				err = w.kill()
			}
			if err != nil {
				t.Fatalf("step %d: %v\nsteps %q", i, err, w.log)
			}
		}
		if err := errors.Join(w.check(thinSame), w.m.Close()); err != nil {
			t.Fatal(err)
		}
		w.sound(meta)
	})
}

// TestThinModelPowerCut does the same over devices that lose their power at a random
// write or sync, sector by sector, and again while they recover.
func TestThinModelPowerCut(t *testing.T) {
	episodes(t, 10, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 0))
		power := &blockdev.Power{}
		meta := blockdev.NewCrashOn(power, blockdev.NewMem(thinMeta))
		data := blockdev.NewCrashOn(power, blockdev.NewMem(thinMost*thinBlock))
		w := newThinWorld(t, rng, meta, data)
		for cut := range 6 {
			before, after := power.Ops(), 1+rng.IntN(1<<(2+rng.IntN(8)))
			power.CutAt(after)
			var err error
			for i := 0; err == nil && i < 2000; i++ {
				err = w.step()
			}
			if power.Ops() < before+after {
				t.Fatalf("cut %d: %v, while the power was on\nsteps %q", cut, err, w.log)
			}
			w.m.Close() // fails, as all does without power
			power = &blockdev.Power{}
			keep := rng.IntN(101)
			left := meta.Clone(rng, keep)
			w.sound(left)
			w.found(left)
			meta, data = blockdev.NewCrashOn(power, left), blockdev.NewCrashOn(power, data.Clone(rng, keep))
			w.meta, w.data = meta, data
			w.log = append(w.log, "cut")
			err = w.boot()
			if err == nil {
				err = w.check(settled)
			}
			if err != nil {
				t.Fatalf("cut %d, %d%% of unsynced sectors kept: %v\nsteps %q", cut, keep, err, w.log)
			}
		}
		if err := errors.Join(w.check(thinSame), w.m.Close()); err != nil {
			t.Fatal(err)
		}
	})
}

// found takes into the model which devices a power cut left. What was on its way is
// there or not.
func (w *thinWorld) found(meta *blockdev.Mem) {
	w.t.Helper()
	r, err := thinmeta.Read(meta)
	if err != nil {
		w.t.Fatal(err)
	}
	list, err := r.Devices()
	if err != nil {
		w.t.Fatal(err)
	}
	there := map[uint32]bool{}
	for _, d := range list {
		there[d.ID] = true
	}
	if v := w.making; v != nil && there[v.id] {
		w.vols[v.id] = v
	}
	w.making = nil
	for id, v := range w.vols {
		switch {
		case there[id]:
			v.removed = false
			delete(there, id)
		case v.removed:
			delete(w.vols, id)
		default:
			w.t.Fatalf("device %d is gone after a power cut", id)
		}
	}
	if len(there) > 0 {
		w.t.Fatalf("devices %v are back after a power cut", there)
	}
}
