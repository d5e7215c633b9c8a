package lvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"cowhand/dmcore/blockdev"
	"cowhand/lvm/ondisk"
)

// Prepare writes next, a changed clone of what Load returned, beside the present
// state of its group. Nothing is written, not even an archived copy, if the group
// changed since, is missing a PV, is not this host's, is invalid, or if
// its text does not fit every metadata area in use ([ErrMetadataFull]). An error
// leaves the present state.
func (s *Store) Prepare(ctx context.Context, next *VG) (*Pending, error) {
	return s.prepareNamed(ctx, next, s.Archive)
}

// PrepareSuspended is Prepare without an archived copy: while devices are
// suspended no file may be written, for its file system may be on one of them.
func (s *Store) PrepareSuspended(ctx context.Context, next *VG) (*Pending, error) {
	return s.prepareNamed(ctx, next, nil)
}

func (s *Store) prepareNamed(ctx context.Context, next *VG, archive *Archive) (*Pending, error) {
	p, err := s.prepare(ctx, next, archive)
	if err != nil {
		return nil, named(next, "", err)
	}
	return p, nil
}

// named says which group the error is about, unless the error says so.
func named(vg *VG, op string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return vg.fail("", op, err)
}

func (s *Store) prepare(ctx context.Context, next *VG, archive *Archive) (*Pending, error) {
	f, err := s.scan(ctx)
	if err != nil {
		return nil, err
	}
	g, err := s.current(f, next)
	if err != nil {
		return nil, err
	}
	p := &Pending{VG: next.Clone()}
	p.VG.stampHistory(s.clock())
	p.VG.Seqno++
	p.VG.lockWrites()
	if err := p.VG.Validate(); err != nil {
		return nil, err
	}
	text, err := s.text(p.VG)
	if err != nil {
		return nil, err
	}
	if err := p.plan(f, g, text); err != nil {
		return nil, err
	}
	if g != nil && archive != nil {
		if err := archive.Archive(g.present(), s.header(fmt.Sprintf("Created *before* executing '%s'", s.command()))); err != nil {
			return nil, err
		}
	}
	if err := p.write(ctx, s, text); err != nil {
		return nil, errors.Join(err, p.Abort())
	}
	return p, nil
}

// current returns the group that next was made from, nil for a new one, or says
// why it must not be changed.
func (s *Store) current(f *found, next *VG) (*group, error) {
	g, err := s.unchanged(f, next)
	if err != nil {
		return nil, err
	}
	for _, other := range f.groups {
		if other != g && other.vg.Name == next.Name {
			return nil, fmt.Errorf("another group has this name, %s on %s: %w", other.vg.ID.Dashed(), other.newest().disk.path, ErrExists)
		}
	}
	if err := s.usable(next); err != nil {
		return nil, err
	}
	for _, pv := range next.PVs {
		if err := f.member(g, pv); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// unchanged finds the state that next was made from.
func (s *Store) unchanged(f *found, next *VG) (*group, error) {
	i := slices.IndexFunc(f.groups, func(g *group) bool { return g.vg.ID == next.ID })
	if i < 0 {
		if next.Seqno != 0 {
			return nil, f.notFound()
		}
		return nil, nil
	}
	g := f.groups[i]
	switch {
	case g.err != nil:
		return nil, g.err
	case g.vg.Seqno != next.Seqno:
		return nil, fmt.Errorf("changed by someone else, seqno is %d, %d was read: %w", g.vg.Seqno, next.Seqno, ErrInvalid)
	case !g.vg.Writable():
		return nil, ErrReadOnly
	}
	return g, s.usable(g.vg)
}

// member checks a PV of the state to be: of the group already, or free.
func (f *found) member(g *group, pv *PV) error {
	disks := f.byID[pv.ID]
	switch {
	case len(disks) == 0, pv.Missing():
		return pv.lost()
	case len(disks) > 1:
		return fmt.Errorf("%s %s is on %s and on %s: %w", pv.Name, pv.ID.Dashed(), disks[0].path, disks[1].path, ErrDuplicate)
	}
	d := disks[0]
	if g != nil && g.disks[pv.ID] == d {
		return nil
	}
	return f.free(d)
}

// free reports a disk that belongs to a group, or may.
func (f *found) free(d *disk) error {
	if g := f.owner[d.id]; g != nil {
		return fmt.Errorf("%s belongs to group %s: %w", d.path, g.vg.Name, ErrInUse)
	}
	for _, a := range d.areas {
		switch {
		case a.vg != nil:
			return fmt.Errorf("%s has metadata of group %s: %w", d.path, a.vg.Name, ErrInUse)
		case a.err != nil:
			return a.err
		}
	}
	if d.label.Used() {
		return fmt.Errorf("%s belongs to a group that was not found: %w", d.path, ErrInUse)
	}
	return nil
}

// text prints the group, and reads it back before anybody else must.
func (s *Store) text(vg *VG) ([]byte, error) {
	text, err := vg.Text(s.header(fmt.Sprintf("Write from %s.", s.command())))
	if err != nil {
		return nil, err
	}
	again, err := Parse(text)
	if err != nil {
		return nil, err
	}
	if again.ID != vg.ID || again.Seqno != vg.Seqno || len(again.LVs) != len(vg.LVs) || len(again.PVs) != len(vg.PVs) {
		return nil, fmt.Errorf("text does not read as it was meant: %w", ErrInvalid)
	}
	s.remember(text, again)
	return text, nil
}

// plan places the text in every area in use.
func (p *Pending) plan(f *found, g *group, text []byte) error {
	for _, pv := range p.VG.PVs {
		d := f.byID[pv.ID][0]
		device := &openDevice{disk: d}
		if !d.label.Used() {
			label, err := d.label.SetUsed(true).Encode()
			if err != nil {
				return &DeviceError{d.path, int64(d.label.Sector) * ondisk.SectorSize, err}
			}
			device.label = label
		}
		p.devices = append(p.devices, device)
		for _, a := range d.areas {
			if a.err != nil {
				p.Degraded = append(p.Degraded, a.err)
				continue
			}
			if a.header.Ignored() {
				continue
			}
			slot, err := a.header.Place(text)
			if err != nil {
				return &DeviceError{d.path, int64(a.at.Offset), err}
			}
			p.areas = append(p.areas, &pendingArea{
				device: device, header: a.header, slot: slot,
				prepared:  a.header.Prepare(slot).Encode(),
				committed: a.header.Commit(slot).Encode(),
				read:      make([]byte, ondisk.SectorSize),
			})
		}
	}
	if len(p.areas) == 0 {
		return errors.Join(append([]error{fmt.Errorf("no metadata area to write to: %w", ErrInvalid)}, p.Degraded...)...)
	}
	return p.planLeaving(g)
}

// planLeaving clears the PVs that are no more of the group.
func (p *Pending) planLeaving(g *group) error {
	if g == nil {
		return nil
	}
	for _, pv := range g.vg.PVs {
		d := g.disks[pv.ID]
		if d == nil || p.VG.PVByID(pv.ID) != nil {
			continue
		}
		label, err := d.label.SetUsed(false).Encode()
		if err != nil {
			return &DeviceError{d.path, int64(d.label.Sector) * ondisk.SectorSize, err}
		}
		device := &openDevice{disk: d, label: label}
		for _, a := range d.areas {
			if a.header.Size > 0 { // it can be read, whatever is with its text
				device.clear = append(device.clear, a.header)
			}
		}
		p.devices = append(p.devices, device)
	}
	return nil
}

// write writes the text everywhere, then the precommitted slots.
func (p *Pending) write(ctx context.Context, s *Store, text []byte) error {
	for _, d := range p.devices {
		dev, err := s.Open(d.disk.path, true)
		if err != nil {
			return &DeviceError{d.disk.path, -1, err}
		}
		d.dev = dev
	}
	if err := p.each(ctx, func(a *pendingArea) error { return writeSlot(a.device.dev, a.header, a.slot, text) }); err != nil {
		return err
	}
	if err := p.each(ctx, func(a *pendingArea) error {
		got, err := readSlot(a.device.dev, a.header, a.slot)
		if err == nil && !bytes.Equal(got, text) {
			err = fmt.Errorf("metadata reads other than it was written: %w", ErrCorrupt)
		}
		return err
	}); err != nil {
		return err
	}
	return p.each(ctx, func(a *pendingArea) error {
		a.precommit = true
		return writeFull(a.device.dev, a.prepared, int64(a.header.Start))
	})
}

// each does something to all areas, then syncs all devices. It ends at the
// first error.
func (p *Pending) each(ctx context.Context, do func(*pendingArea) error) error {
	for _, a := range p.areas {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := do(a); err != nil {
			return a.fail(err)
		}
	}
	for _, d := range p.devices {
		if err := d.dev.Sync(); err != nil {
			return &DeviceError{d.disk.path, -1, fmt.Errorf("sync: %w", err)}
		}
	}
	return nil
}

// writeSlot writes a text where the slot says, in one or two pieces, and zeroes
// the rest of its last sector.
func writeSlot(dev blockdev.Device, h ondisk.Header, slot ondisk.Slot, text []byte) error {
	padded := make([]byte, uint64(len(text))+h.Padding(slot))
	copy(padded, text)
	for _, span := range h.Spans(ondisk.Slot{Offset: slot.Offset, Size: uint64(len(padded))}) {
		if err := writeFull(dev, padded[:span.Size], int64(span.Offset)); err != nil {
			return err
		}
		padded = padded[span.Size:]
	}
	return nil
}

func writeFull(dev blockdev.Device, b []byte, off int64) error {
	_, err := dev.WriteAt(b, off)
	return err
}

// Backup writes the group's state to a file, as lvm2 does after each change. It
// is not part of Commit: devices may be suspended then, the one with the file
// system too.
func (s *Store) Backup(vg *VG) error {
	if s.Archive == nil {
		return nil
	}
	return vg.fail("", "", s.Archive.Backup(vg, s.header(fmt.Sprintf("Created *after* executing '%s'", s.command()))))
}

func (s *Store) command() string {
	if s.Command == "" {
		return "cowhand"
	}
	return s.Command
}

func (s *Store) clock() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *Store) header(description string) Header {
	now := time.Now
	if s.Now != nil {
		now = s.Now
	}
	h := Header{Description: description, Host: s.Host, System: s.System, Time: now()}
	if h.Host == "" {
		h.Host, _ = os.Hostname() // a note; none is fine
	}
	return h
}
