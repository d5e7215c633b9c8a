package userspace

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/thinmeta"
)

// A write that needed new blocks is answered when the metadata that maps them is
// committed. The kernel answers before, since it does not die without its machine;
// this process may be killed, and whoever had a write acknowledged would go on with
// the next. Mappings are made in batches, so that many writers share a commit:
//
//	write ──allocate, fill──▶ queue ──▶ batch: map … map, commit ──▶ answers
//	write ──allocate, fill──▶   │
//	write ──allocate, fill──▶ queue ──▶ next batch

// insertion is blocks of a thin device whose new places are filled.
type insertion struct {
	td   *thinDevice
	list []newPlace
	done chan error
}

// newPlace is a block of a thin device and where it is to be.
type newPlace struct {
	v   thinmeta.VBlock
	d   thinmeta.DBlock
	was piece // where it is, and how much of it is to be written
}

// insert maps blocks, for good.
func (p *thinPool) insert(td *thinDevice, list []newPlace) error {
	i := &insertion{td, list, make(chan error, 1)}
	p.mu.Lock()
	p.queue = append(p.queue, i)
	start := !p.serving
	p.serving = true
	p.mu.Unlock()
	if start {
		go p.serve()
	}
	return <-i.done
}

// serve makes batches until nothing waits.
func (p *thinPool) serve() {
	for p.serveOne() {
	}
}

func (p *thinPool) serveOne() bool {
	p.tx.Lock()
	defer p.tx.Unlock()
	p.mu.Lock()
	batch := p.queue
	p.queue = nil
	p.serving = len(batch) > 0
	p.mu.Unlock()
	if len(batch) == 0 {
		return false
	}
	errs := make([]error, len(batch))
	for k, i := range batch {
		errs[k] = p.mapAll(i)
	}
	if err := p.commitLocked(); err != nil {
		for k := range errs {
			errs[k] = cmp.Or(errs[k], err)
		}
	}
	for k, i := range batch {
		i.done <- errs[k]
	}
	return true
}

// mapAll makes the mappings of an insertion. tx is held.
func (p *thinPool) mapAll(i *insertion) error {
	for k, m := range i.list {
		err := error(errPoolReadOnly)
		if p.modeNow() < poolOutOfMetadata {
			err = p.mapOne(i.td, m)
		}
		if err != nil {
			for _, m := range i.list[k:] {
				p.meta.Free(m.d, 1)
			}
			return err
		}
		p.fresh = append(p.fresh, poolRun{m.d, 1})
	}
	return nil
}

// mapOne maps a block. Where metadata is short, what the transaction let go may do.
func (p *thinPool) mapOne(td *thinDevice, m newPlace) error {
	err := p.changed(p.meta.Map(td.id, m.v, m.d))
	if !errors.Is(err, thinmeta.ErrMetadataFull) {
		return err
	}
	if err := p.commitLocked(); err != nil {
		return err
	}
	err = p.changed(p.meta.Map(td.id, m.v, m.d))
	if errors.Is(err, thinmeta.ErrMetadataFull) {
		p.setMode(poolOutOfMetadata)
		return errors.Join(dmcore.ErrIO, err)
	}
	return err
}

// commitLocked makes all changes durable. What cannot be committed is given up. tx
// is held.
func (p *thinPool) commitLocked() error {
	switch mode := p.modeNow(); {
	case mode == poolFailed:
		return errPoolFailed
	case mode >= poolOutOfMetadata:
		return errPoolReadOnly
	}
	p.mu.Lock()
	p.begun++
	n := p.begun
	p.mu.Unlock()
	if err := p.changed(p.meta.Commit()); err != nil {
		return err
	}
	p.mu.Lock()
	p.done = n
	p.mu.Unlock()
	p.fresh, p.syncAll = p.fresh[:0], false
	p.passDown()
	p.lookForRoom()
	return nil
}

// lookForRoom changes the mode if there is no more metadata, or if there is room
// again in a full pool. tx is held.
func (p *thinPool) lookForRoom() {
	room := p.meta.Room()
	p.lowMetadata(room)
	switch mode := p.modeNow(); {
	case room.Metadata == 0:
		p.setMode(poolOutOfMetadata)
	case mode == poolFull && room.Data > 0:
		p.setMode(poolWrite)
	}
}

// dataSync makes data durable before a commit maps it.
type dataSync struct{ p *thinPool }

// scattered is how many runs of blocks are synced one by one.
const scattered = 16

// Sync makes durable what is in blocks that the transaction maps, or everything.
// It is called by commitLocked.
func (s dataSync) Sync() error {
	p := s.p
	data := p.data()
	if data == nil {
		return errPoolFailed
	}
	runs := joined(p.fresh)
	if n := len(runs); n > 1 {
		all := poolRun{runs[0].first, uint64(runs[n-1].first-runs[0].first) + runs[n-1].n}
		if all.n <= 2*uint64(len(p.fresh)) { // few others lie between
			runs = []poolRun{all}
		}
	}
	if p.syncAll || len(runs) > scattered {
		return data.Sync()
	}
	for _, r := range runs {
		if err := data.SyncRange(int64(r.first)*p.block, int64(r.n)*p.block); err != nil {
			return err
		}
	}
	return nil
}

// joined is runs in order, those that touch or overlap as one.
func joined(runs []poolRun) []poolRun {
	slices.SortFunc(runs, func(a, b poolRun) int { return cmp.Compare(a.first, b.first) })
	var out []poolRun
	for _, r := range runs {
		if n := len(out); n > 0 && r.first <= out[n-1].end() {
			out[n-1].n = max(out[n-1].n, uint64(r.first-out[n-1].first)+r.n)
		} else {
			out = append(out, r)
		}
	}
	return out
}

// allocate finds a block for new data.
func (p *thinPool) allocate() (thinmeta.DBlock, error) {
	switch mode := p.modeNow(); {
	case mode == poolFailed:
		return 0, errPoolFailed
	case mode >= poolOutOfMetadata:
		return 0, errPoolReadOnly
	case mode == poolFull:
		return 0, errPoolFull
	}
	p.lowWater()
	d, err := p.meta.Allocate()
	if !errors.Is(err, thinmeta.ErrDataFull) {
		return d, p.settled(err)
	}
	// What the transaction let go may do.
	p.tx.Lock()
	defer p.tx.Unlock()
	if err := p.commitLocked(); err != nil {
		return 0, err
	}
	d, err = p.meta.Allocate()
	if errors.Is(err, thinmeta.ErrDataFull) {
		p.setMode(poolFull)
		return 0, errPoolFull
	}
	return d, p.changed(err)
}

// giveBack frees a block that was allocated and is not mapped.
func (p *thinPool) giveBack(d thinmeta.DBlock) {
	p.meta.Free(d, 1)
	if p.modeNow() == poolFull {
		p.tx.Lock()
		defer p.tx.Unlock()
		p.lookForRoom()
	}
}

// settled is changed for who does not hold tx.
func (p *thinPool) settled(err error) error {
	if err != nil && p.meta.Broken() != nil {
		p.mend()
		return errors.Join(dmcore.ErrIO, err)
	}
	return err
}

// note remembers that a thin device was changed, and has that committed soon.
func (p *thinPool) note(td *thinDevice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	td.needs = p.begun + 1
	if p.late == nil && !p.suspended {
		p.late = time.AfterFunc(commitPeriod, p.commitLate)
	}
}

func (p *thinPool) commitLate() {
	p.tx.Lock()
	defer p.tx.Unlock()
	p.mu.Lock()
	p.late = nil
	suspended := p.suspended
	p.mu.Unlock()
	if !suspended {
		p.commitLocked() // what cannot be committed is given up, and the mode tells
	}
}

// settle commits the changes of a thin device, if there are any.
func (p *thinPool) settle(td *thinDevice) error {
	if !p.unsettled(td) {
		return nil
	}
	p.tx.Lock()
	defer p.tx.Unlock()
	if !p.unsettled(td) {
		return nil // another's commit had them
	}
	return p.commitLocked()
}

func (p *thinPool) unsettled(td *thinDevice) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return td.needs > p.done
}
