package userspace_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
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
