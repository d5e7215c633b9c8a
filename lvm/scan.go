package lvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"cowhand/dmcore/blockdev"
	"cowhand/lvm/ondisk"
)

// DeviceError is what is wrong with a device, or at a byte of it.
type DeviceError struct {
	Path   string
	Offset int64 // -1: the device as a whole
	Err    error
}

func (e *DeviceError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%s: %v", e.Path, e.Err)
	}
	return fmt.Sprintf("%s: byte %d: %v", e.Path, e.Offset, e.Err)
}

func (e *DeviceError) Unwrap() error { return e.Err }

// Is lets the errors of package ondisk match those of this package.
func (e *DeviceError) Is(target error) bool {
	switch target {
	case ErrCorrupt:
		return errors.Is(e.Err, ondisk.ErrCorrupt)
	case ErrMetadataFull:
		return errors.Is(e.Err, ondisk.ErrFull)
	case ErrInvalid:
		return errors.Is(e.Err, ondisk.ErrLayout)
	}
	return false
}

// disk is a device that has a label.
type disk struct {
	path  string
	size  int64
	id    ID
	label ondisk.Label
	areas []*area
}

// area is a metadata area of a disk, as far as it can be read.
type area struct {
	disk   *disk
	at     ondisk.Area
	header ondisk.Header
	vg     *VG // committed copy, shared between areas that hold the same
	text   []byte
	err    error // a *DeviceError: header or text is damaged
	// invalid is what Validate says of vg: a text with a good checksum may
	// still be somebody's attempt to map what is not his.
	invalid error
}

const (
	scanners = 8        // devices read at a time
	maxText  = 64 << 20 // lvm2's own tests use areas up to 32 MiB
)

// scanDevices reads the labels and metadata areas of all devices. A device
// without a label is none of ours; what cannot be read is a problem, and does not
// keep the others from being read.
func (s *Store) scanDevices(ctx context.Context) (disks []*disk, problems []error, err error) {
	found := make([]*disk, len(s.Devices))
	failed := make([]error, len(s.Devices))
	slots := make(chan struct{}, scanners)
	var wg sync.WaitGroup
	for i, path := range s.Devices {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if ctx.Err() == nil {
				found[i], failed[i] = s.scanDevice(path)
			}
		})
	}
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("scan: %w", context.Cause(ctx))
	}
	for i, d := range found {
		if failed[i] != nil {
			problems = append(problems, failed[i])
		}
		if d == nil {
			continue
		}
		disks = append(disks, d)
		for _, a := range d.areas {
			if a.err != nil {
				problems = append(problems, a.err)
			}
		}
	}
	return disks, problems, nil
}

// scanDevice returns nil if the device has no label.
func (s *Store) scanDevice(path string) (*disk, error) {
	dev, err := s.Open(path, false)
	if err != nil {
		return nil, &DeviceError{path, -1, err}
	}
	d, err := s.readDisk(dev, path)
	return d, errors.Join(err, dev.Close())
}

func (s *Store) readDisk(dev blockdev.Device, path string) (*disk, error) {
	size := dev.Size()
	if err := refresh(dev, 0, ondisk.LabelSectors*ondisk.SectorSize); err != nil {
		return nil, &DeviceError{path, 0, err}
	}
	first := make([]byte, min(size, ondisk.LabelSectors*ondisk.SectorSize))
	if err := readFull(dev, first, 0); err != nil {
		return nil, &DeviceError{path, 0, err}
	}
	label, err := ondisk.FindLabel(first)
	switch {
	case errors.Is(err, ondisk.ErrNoLabel):
		return nil, nil
	case err != nil:
		return nil, &DeviceError{path, 0, err}
	}
	id, err := ParseID(label.ID)
	if err != nil {
		return nil, &DeviceError{path, int64(label.Sector) * ondisk.SectorSize, fmt.Errorf("%w: %w", ErrCorrupt, err)}
	}
	d := &disk{path: path, size: size, id: id, label: label}
	for _, at := range label.Metadata {
		d.areas = append(d.areas, s.readArea(dev, d, at))
	}
	return d, nil
}

// readArea reads a metadata area; twice, if its text does not fit its checksum: a
// writer may have passed by.
func (s *Store) readArea(dev blockdev.Device, d *disk, at ondisk.Area) *area {
	a := &area{disk: d, at: at}
	for range 2 {
		if a.err = a.read(dev); a.err == nil {
			break
		}
	}
	if a.err == nil && a.text != nil {
		a.vg, a.err = s.parse(a)
	}
	return a
}

func (a *area) read(dev blockdev.Device) error {
	fail := func(offset uint64, err error) error { return &DeviceError{a.disk.path, int64(offset), err} }
	if a.at.End() > uint64(a.disk.size) {
		return fail(a.at.Offset, fmt.Errorf("metadata area of %d bytes ends beyond the device's %d: %w", a.at.Size, a.disk.size, ErrCorrupt))
	}
	sector := make([]byte, ondisk.SectorSize)
	err := refresh(dev, int64(a.at.Offset), int64(a.at.Size))
	if err == nil {
		err = readFull(dev, sector, int64(a.at.Offset))
	}
	if err == nil {
		a.header, err = ondisk.DecodeHeader(sector, a.at)
	}
	if err != nil {
		return fail(a.at.Offset, err)
	}
	slot := a.header.Committed
	if slot.Empty() || a.header.Ignored() {
		return nil
	}
	where := a.at.Offset + slot.Offset
	if slot.Size > maxText {
		return fail(where, fmt.Errorf("metadata of %d bytes, at most %d are read: %w", slot.Size, maxText, ErrUnsupported))
	}
	text, err := readSlot(dev, a.header, slot)
	if err != nil {
		return fail(where, err)
	}
	if got := ondisk.CRC(text); got != slot.Checksum {
		return fail(where, fmt.Errorf("metadata has checksum 0x%08x, its header says 0x%08x: %w", got, slot.Checksum, ErrCorrupt))
	}
	a.text = text
	return nil
}

// parse parses a text once, however many areas and scans find it.
func (s *Store) parse(a *area) (*VG, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p, ok := s.parsed[keyOf(a.text)]; ok && bytes.Equal(p.text, a.text) {
		p.used = true
		a.invalid = p.invalid
		return p.vg, nil
	}
	vg, err := Parse(a.text)
	if err != nil {
		return nil, &DeviceError{a.disk.path, int64(a.at.Offset + a.header.Committed.Offset), err}
	}
	a.invalid = vg.Validate()
	s.keep(a.text, vg, a.invalid)
	return vg, nil
}

// remember spares the next scan from parsing a valid text that is about to be
// found.
func (s *Store) remember(text []byte, vg *VG) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(text, vg, nil)
}

func (s *Store) keep(text []byte, vg *VG, invalid error) {
	if s.parsed == nil {
		s.parsed = map[textKey]*parsedText{}
	}
	s.parsed[keyOf(text)] = &parsedText{text: text, vg: vg, invalid: invalid, used: true}
}

func keyOf(text []byte) textKey { return textKey{len(text), ondisk.CRC(text)} }

type textKey struct {
	size int
	crc  uint32
}

type parsedText struct {
	text    []byte
	vg      *VG   // never changed
	invalid error // what Validate said
	used    bool
}

// forget drops the texts that the last scan did not find.
func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, p := range s.parsed {
		if !p.used {
			delete(s.parsed, k)
		}
		p.used = false
	}
}

// readSlot reads a copy of the metadata, in one or two pieces.
func readSlot(dev blockdev.Device, h ondisk.Header, slot ondisk.Slot) ([]byte, error) {
	text := make([]byte, 0, slot.Size)
	for _, span := range h.Spans(slot) {
		part := text[len(text) : len(text)+int(span.Size)]
		if err := readFull(dev, part, int64(span.Offset)); err != nil {
			return nil, err
		}
		text = text[:len(text)+len(part)]
	}
	return text, nil
}

// refresh makes sure that what is read next is the device's own: another host
// may have had the group since. (lvm2 reads past the kernel's copy, O_DIRECT:
// 2.03.16, lib/device/bcache.c.)
func refresh(dev blockdev.Device, off, n int64) error {
	if r, ok := dev.(blockdev.Refresher); ok {
		return r.Refresh(off, n)
	}
	return nil
}

func readFull(dev blockdev.Device, b []byte, off int64) error {
	if n, err := dev.ReadAt(b, off); n < len(b) {
		return fmt.Errorf("read of %d bytes gave %d: %w", len(b), n, err)
	}
	return nil
}
