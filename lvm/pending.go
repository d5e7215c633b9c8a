package lvm

import (
	"bytes"
	"errors"
	"fmt"

	"cowhand/dmcore/blockdev"
	"cowhand/lvm/ondisk"
)

// ErrUndecided is a commit that failed so that neither the old nor the new state
// is sure to be found on disk: the devices failed while they were written, and
// again when the old state was to be restored. Only loading the group tells.
var ErrUndecided = errors.New("whether the old or the new state is on disk is not known")

// Pending is a new state of a group that is written beside the present one:
//
//	            text in every ring, then slot 1
//	present ──Prepare──▶ pending ──Commit──▶ new state     slot 0, slot 1 empty
//	   ▲                    │
//	   └──────Abort─────────┘                              slot 1 empty
//
// A reader sees the present state until Commit; a power cut at any moment leaves
// one of the two. Commit or Abort must be called: both close the devices.
type Pending struct {
	VG       *VG     // what Commit makes current
	Degraded []error // areas that are not, or did not get, written: the next Prepare refreshes them

	devices []*openDevice
	areas   []*pendingArea
	closed  bool
}

// openDevice is a PV open for writing.
type openDevice struct {
	disk *disk
	dev  blockdev.Device
	// What Commit does after the headers are durable:
	label []byte          // the label to write, nil: it stands as it is
	clear []ondisk.Header // areas that leave the group
}

// pendingArea is a metadata area with both its headers to be, encoded in
// advance: Commit allocates nothing.
type pendingArea struct {
	device    *openDevice
	header    ondisk.Header // as it was
	slot      ondisk.Slot
	prepared  []byte
	committed []byte
	read      []byte // to compare with
	precommit bool   // slot 1 may be on disk
	err       error
}

func (a *pendingArea) fail(err error) error {
	return &DeviceError{a.device.disk.path, int64(a.header.Start), err}
}

// Commit makes the new state current and durable. It succeeds if one area took
// it, for the newest copy counts; Degraded has the errors of the others. If none
// did, it restores the present state; if it could not do that, the error matches
// [ErrUndecided]. Between suspending and resuming devices nothing else needs to
// happen: Commit writes and syncs one sector for each area, reads it again, and
// needs no memory to do it. (Groups that gain or lose PVs have labels to write
// too.)
func (p *Pending) Commit() error {
	if p.closed {
		return p.VG.fail("", "commit", fmt.Errorf("nothing is pending: %w", ErrInvalid))
	}
	committed := p.flip()
	if committed == 0 {
		err := p.areas[0].fail(p.areas[0].err)
		if restored := p.restore(); restored != nil {
			return p.VG.fail("", "commit", fmt.Errorf("%w; %w: %w", err, ErrUndecided, restored))
		}
		return p.VG.fail("", "commit", fmt.Errorf("%w; the old state was restored", err))
	}
	for _, a := range p.areas {
		if a.err != nil {
			p.Degraded = append(p.Degraded, a.fail(a.err))
		}
	}
	p.finish()
	p.Degraded = append(p.Degraded, p.close()...)
	return nil
}

// flip makes the new slots committed ones, and returns how many are.
func (p *Pending) flip() (committed int) {
	for _, a := range p.areas {
		a.err = writeFull(a.device.dev, a.committed, int64(a.header.Start))
	}
	for _, d := range p.devices {
		if err := d.dev.Sync(); err != nil {
			p.failDevice(d, err)
		}
	}
	for _, a := range p.areas {
		if a.err == nil {
			a.err = readFull(a.device.dev, a.read, int64(a.header.Start))
		}
		if a.err == nil && !bytes.Equal(a.read, a.committed) {
			a.err = ErrCorrupt
		}
		if a.err == nil {
			committed++
		}
	}
	return committed
}

func (p *Pending) failDevice(d *openDevice, err error) {
	for _, a := range p.areas {
		if a.device == d && a.err == nil {
			a.err = err
		}
	}
}

// finish clears what left the group, and sets the labels' flags. Should a crash
// prevent it, a PV that joined is still listed by its group, and gets its flag
// with the next commit; one that left is still protected by its own.
func (p *Pending) finish() {
	for _, d := range p.devices {
		if d.label == nil && d.clear == nil {
			continue
		}
		if err := d.finish(); err != nil {
			p.Degraded = append(p.Degraded, &DeviceError{d.disk.path, -1, err})
		}
	}
}

func (d *openDevice) finish() error {
	if err := d.clearAreas(); err != nil {
		return err
	}
	return d.writeLabel()
}

// clearAreas makes the areas that leave the group say that there is none.
func (d *openDevice) clearAreas() error {
	if len(d.clear) == 0 {
		return nil
	}
	for _, h := range d.clear {
		h.Committed, h.Precommit = ondisk.Slot{Flags: h.Committed.Flags}, ondisk.Slot{}
		if err := writeFull(d.dev, h.Encode(), int64(h.Start)); err != nil {
			return err
		}
	}
	return d.dev.Sync()
}

func (d *openDevice) writeLabel() error {
	if err := writeFull(d.dev, d.label, int64(d.disk.label.Sector)*ondisk.SectorSize); err != nil {
		return err
	}
	return d.dev.Sync()
}

// Abort forgets the new state. After Commit or Abort it does nothing.
func (p *Pending) Abort() error {
	if p.closed {
		return nil
	}
	return p.VG.fail("", "abort", p.restore())
}

// restore writes the headers as they were, less what was precommitted, and
// closes the devices.
func (p *Pending) restore() error {
	var errs []error
	touched := map[*openDevice]bool{}
	for _, a := range p.areas {
		if !a.precommit {
			continue
		}
		touched[a.device] = true
		if err := writeFull(a.device.dev, a.header.Abort().Encode(), int64(a.header.Start)); err != nil {
			errs = append(errs, a.fail(err))
		}
	}
	for d := range touched {
		if err := d.dev.Sync(); err != nil {
			errs = append(errs, &DeviceError{d.disk.path, -1, fmt.Errorf("sync: %w", err)})
		}
	}
	return errors.Join(append(errs, p.close()...)...)
}

func (p *Pending) close() (errs []error) {
	p.closed = true
	for _, d := range p.devices {
		if d.dev == nil {
			continue
		}
		if err := d.dev.Close(); err != nil {
			errs = append(errs, &DeviceError{d.disk.path, -1, err})
		}
	}
	return errs
}
