package userspace

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/thinmeta"
)

// poolMode is what a pool can do, from all to nothing (drivers/md/dm-thin.c, enum
// pool_mode).
type poolMode int

const (
	poolWrite         poolMode = iota
	poolFull                   // no data block can be allocated
	poolOutOfMetadata          // the metadata cannot change, for want of room
	poolReadOnly               // the metadata cannot change
	poolFailed                 // all I/O fails
)

// word is how the status line tells the mode.
func (m poolMode) word() dmcore.ThinPoolMode {
	switch m {
	case poolWrite:
		return dmcore.ThinPoolWritable
	case poolFull:
		return dmcore.ThinPoolOutOfDataSpace
	}
	return dmcore.ThinPoolReadOnly
}

// noSpaceTimeout is how long writes wait for a full pool to grow, and commitPeriod
// how long a change stays in memory that nobody waits for (drivers/md/dm-thin.c,
// NO_SPACE_TIMEOUT_SECS and COMMIT_PERIOD).
const (
	noSpaceTimeout = time.Minute
	commitPeriod   = time.Second
)

var (
	errPoolFailed   = fmt.Errorf("the thin pool has failed: %w", dmcore.ErrIO)
	errPoolReadOnly = fmt.Errorf("the thin pool is read-only: %w", dmcore.ErrIO)
	errPoolFull     = errors.New("the thin pool is full") // is not answered, but waited for
	errNoSpace      = fmt.Errorf("the thin pool is full: %w: %w", syscall.ENOSPC, dmcore.ErrIO)
)

func (p *thinPool) modeNow() poolMode {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mode
}

func (p *thinPool) failed() bool { return p.modeNow() == poolFailed }

// setMode changes the mode, as far as it may (drivers/md/dm-thin.c,
// set_pool_mode). tx is held.
func (p *thinPool) setMode(mode poolMode) {
	check := p.meta.Superblock().NeedsCheck
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.mode
	switch {
	case old == poolFailed:
		return
	case mode == poolWrite && check && old == poolWrite:
		mode = poolReadOnly
	case mode == poolWrite && check:
		mode = old
	}
	p.mode = mode
	if p.bound != nil {
		p.bound.mode = mode
	}
	p.stopWaitLocked()
	switch {
	case mode == poolWrite && p.bound != nil:
		p.errorFull = p.bound.plain.Features.ErrorIfNoSpace
	case mode == poolFull && !p.errorFull:
		p.fullSince = time.AfterFunc(noSpaceTimeout, p.giveUpWaiting)
	}
	p.tellLocked()
	if old != mode {
		p.dev.raise()
	}
}

// tellLocked has who waits for room look again. mu is held.
func (p *thinPool) tellLocked() {
	close(p.news)
	p.news = make(chan struct{})
}

// giveUpWaiting ends the waiting of writes for room.
func (p *thinPool) giveUpWaiting() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode != poolFull || p.errorFull || p.suspended {
		return
	}
	p.errorFull = true
	p.tellLocked()
	p.dev.raise()
}

// stopLocked stops the clocks of the pool. mu is held.
func (p *thinPool) stopLocked() {
	p.stopWaitLocked()
	if p.late != nil {
		p.late.Stop()
		p.late = nil
	}
}

func (p *thinPool) stopWaitLocked() {
	if p.fullSince != nil {
		p.fullSince.Stop()
		p.fullSince = nil
	}
}

// waitForRoom returns nil when a write of t that found the pool full is to be
// tried again.
func (p *thinPool) waitForRoom(t *thinTarget) error {
	p.mu.Lock()
	news, full, fail := p.news, p.mode == poolFull, p.errorFull
	p.mu.Unlock()
	switch {
	case !full:
		return nil // it is not any more, or the mode says what else is wrong
	case fail:
		return errNoSpace
	}
	select {
	case <-news:
		return nil
	case <-t.noflush():
		return errRequeue
	case <-p.m.stopped:
		return t.owner.gone()
	}
}

// changed looks at how a change of the metadata ended. What was refused before
// anything was changed is the caller's to answer; after anything else the
// transaction is given up (drivers/md/dm-thin.c, metadata_operation_failed). tx is
// held.
func (p *thinPool) changed(err error) error {
	if err != nil && p.meta.Broken() != nil {
		p.giveUp()
		return fmt.Errorf("%w: %w", dmcore.ErrIO, err)
	}
	return err
}

// giveUp goes back to the last transaction and has the metadata checked before it
// is changed again. tx is held.
func (p *thinPool) giveUp() {
	if p.m.closing.Load() {
		// The devices below go away because the machine closes. What is on disk is
		// in order, and nobody is to be sent to check it.
		p.setMode(poolFailed)
		return
	}
	err := p.meta.Rollback()
	if err == nil {
		err = p.meta.SetNeedsCheck(true)
	}
	p.fresh, p.freed, p.freedSum = nil, nil, 0
	if err != nil {
		p.setMode(poolFailed)
		return
	}
	p.setMode(poolReadOnly)
}

// mend gives the transaction up if a change failed and nobody did yet.
func (p *thinPool) mend() {
	p.tx.Lock()
	defer p.tx.Unlock()
	if p.meta.Broken() != nil && p.modeNow() != poolFailed {
		p.giveUp()
	}
}

// lowWater raises an event when little room is left, once until the pool is
// resumed.
func (p *thinPool) lowWater() {
	room := p.meta.Room()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bound != nil && room.Data <= p.bound.plain.LowWater && !p.lowTold {
		p.lowTold = true
		p.dev.raise()
	}
}

// lowMetadata raises an event when little metadata is left, once until there is
// more (dm-space-map-metadata.c, check_threshold).
func (p *thinPool) lowMetadata(room thinmeta.Room) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bound == nil {
		return
	}
	low := room.Metadata+room.Reserve <= p.bound.lowMetadata()
	if low && !p.lowMeta {
		p.dev.raise()
	}
	p.lowMeta = low
}
