// Package blockdev is bytes that do or do not survive a power cut: what a
// device must be able to do, and files, memory and a device that crashes.
package blockdev

import "io"

// Device is a fixed number of bytes that can be read, written and made
// durable. ReadAt and WriteAt are safe for concurrent use; the outcome of
// overlapping concurrent writes is one of them in each 512-byte sector. What
// WriteAt stored is durable once a later Sync returned; before that a power
// cut may keep any part of it, in units of 512-byte sectors. A read or write
// that reaches past Size fails with an error and transfers what fits.
type Device interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Size is the length in bytes.
	Size() int64
	// Sync makes every write that returned before it was called durable.
	Sync() error
}

// RangeSyncer is a Device that can make some of its bytes durable without
// waiting for the others: of every write that returned before, what lies in the
// range.
type RangeSyncer interface {
	SyncRange(off, n int64) error
}

// SyncRange makes n bytes at off durable, and with them all others where the
// device knows no less.
func SyncRange(d Device, off, n int64) error {
	if r, ok := d.(RangeSyncer); ok {
		return r.SyncRange(off, n)
	}
	return d.Sync()
}

// Discarder is a Device that can give bytes back to what is below it. What
// they read as afterwards is undefined.
type Discarder interface {
	Discard(off, n int64) error
}

// Zeroer is a Device that can zero bytes faster than by writing them.
// errors.ErrUnsupported says that it cannot here.
type Zeroer interface {
	Zero(off, n int64, mayUnmap bool) error
}

// Extent is a run of bytes of one kind. Zero says that it reads as zeroes,
// Hole that nothing is allocated for it.
type Extent struct {
	Length     int64
	Hole, Zero bool
}

// Mapper is a Device that knows which of its bytes are allocated. The extents
// it returns begin at off, follow one another and cover at least one byte and
// at most n.
type Mapper interface {
	Extents(off, n int64) ([]Extent, error)
}
