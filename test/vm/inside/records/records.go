// Package records writes numbered records to a device, each after the one before
// was acknowledged, and tells whether a device holds what was written by some moment.
package records

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Record i, from 1, is in slot i mod Slots, all of which it fills.
const (
	slot  = 4096
	Slots = 64
)

// Writer writes past the page cache, and through the device's.
type Writer struct {
	f    *os.File
	buf  []byte
	last uint64
}

// Open goes on after the newest record that a device holds.
func Open(path string) (*Writer, error) {
	last, err := Newest(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_DIRECT|unix.O_DSYNC, 0)
	if err != nil {
		return nil, err
	}
	buf, err := unix.Mmap(-1, 0, slot, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Writer{f: f, buf: buf, last: last}, nil
}

// Write writes the next record, and returns its number when it is acknowledged.
func (w *Writer) Write() (uint64, error) {
	i := w.last + 1
	for off := 0; off < len(w.buf); off += 8 {
		binary.LittleEndian.PutUint64(w.buf[off:], i)
	}
	if _, err := w.f.WriteAt(w.buf, int64(i%Slots*slot)); err != nil {
		return 0, fmt.Errorf("record %d: %w", i, err)
	}
	w.last = i
	return i, nil
}

// Close closes the device.
func (w *Writer) Close() error { return errors.Join(w.f.Close(), unix.Munmap(w.buf)) }

// Newest checks that a device holds what a writer had written at one moment: the
// newest record is some n, 0 if there is none, and every slot has its newest one up
// to n. It returns n.
func Newest(path string) (n uint64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	all := make([]byte, Slots*slot)
	if _, err := f.ReadAt(all, 0); err != nil {
		return 0, err
	}
	var at [Slots]uint64
	for s := range at {
		at[s] = binary.LittleEndian.Uint64(all[s*slot:])
		for off := 0; off < slot; off += 8 {
			if i := binary.LittleEndian.Uint64(all[s*slot+off:]); i != at[s] {
				return 0, fmt.Errorf("%s: slot %d: byte %d is of record %d, the first of %d", path, s, off, i, at[s])
			}
		}
		n = max(n, at[s])
	}
	for s, i := range at {
		want := uint64(0) // the last up to n that goes into this slot
		if back := (n + Slots - uint64(s)) % Slots; back < n {
			want = n - back
		}
		if i != want {
			return 0, fmt.Errorf("%s: slot %d has record %d, want %d: the newest is %d", path, s, i, want, n)
		}
	}
	return n, nil
}
