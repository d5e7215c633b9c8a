package blockdev

import (
	"errors"
	"fmt"
)

// Section is a window of a device.
type Section struct {
	dev    Device
	off, n int64
}

// NewSection returns the n bytes of dev from off on. Closing the section
// leaves dev open; syncing it syncs dev.
func NewSection(dev Device, off, n int64) (*Section, error) {
	if err := checkRange(off, n, dev.Size()); err != nil {
		return nil, fmt.Errorf("section: %w", err)
	}
	return &Section{dev, off, n}, nil
}

// Size implements Device.
func (s *Section) Size() int64 { return s.n }

// ReadAt implements Device.
func (s *Section) ReadAt(p []byte, off int64) (int, error) {
	n, end := clipRead(off, len(p), s.n)
	if n == 0 {
		return 0, end
	}
	got, err := s.dev.ReadAt(p[:n], s.off+off)
	if got == n {
		err = end // a full read may come with io.EOF at the end of dev
	}
	return got, err
}

// WriteAt implements Device.
func (s *Section) WriteAt(p []byte, off int64) (int, error) {
	n, end := clipWrite(off, len(p), s.n)
	if n == 0 {
		return 0, end
	}
	put, err := s.dev.WriteAt(p[:n], s.off+off)
	if err == nil {
		err = end
	}
	return put, err
}

// Sync implements Device.
func (s *Section) Sync() error { return s.dev.Sync() }

// SyncRange implements RangeSyncer.
func (s *Section) SyncRange(off, n int64) error {
	if err := checkRange(off, n, s.n); err != nil {
		return err
	}
	return SyncRange(s.dev, s.off+off, n)
}

// Close does nothing.
func (s *Section) Close() error { return nil }

// Discard implements Discarder; ErrUnsupported if the device does not.
func (s *Section) Discard(off, n int64) error {
	d, ok := s.dev.(Discarder)
	if !ok {
		return fmt.Errorf("discard: %w", errors.ErrUnsupported)
	}
	if err := checkRange(off, n, s.n); err != nil {
		return err
	}
	return d.Discard(s.off+off, n)
}

// Zero implements Zeroer; ErrUnsupported if the device does not.
func (s *Section) Zero(off, n int64, mayUnmap bool) error {
	z, ok := s.dev.(Zeroer)
	if !ok {
		return fmt.Errorf("zero: %w", errors.ErrUnsupported)
	}
	if err := checkRange(off, n, s.n); err != nil {
		return err
	}
	return z.Zero(s.off+off, n, mayUnmap)
}

// Extents implements Mapper; a device that is none is all data.
func (s *Section) Extents(off, n int64) ([]Extent, error) {
	if err := checkRange(off, n, s.n); err != nil || n == 0 {
		return nil, err
	}
	m, ok := s.dev.(Mapper)
	if !ok {
		return []Extent{{Length: n}}, nil
	}
	return m.Extents(s.off+off, n)
}
