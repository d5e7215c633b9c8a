package blockdev

import (
	"errors"
	"fmt"
	"io"
)

// ErrRange is an access that lies outside the device, in whole or in part.
var ErrRange = errors.New("outside the device")

// clipRead tells how many bytes of a read fit on a device of that size, and
// the error that goes with the ones that do not: io.EOF, as io.ReaderAt wants.
func clipRead(off int64, n int, size int64) (int, error) {
	switch {
	case off < 0:
		return 0, fmt.Errorf("read of %d bytes at %d: %w", n, off, ErrRange)
	case off >= size:
		if n == 0 {
			return 0, nil
		}
		return 0, io.EOF
	case int64(n) > size-off:
		return int(size - off), io.EOF
	}
	return n, nil
}

// clipWrite is clipRead for writes: what does not fit is ErrRange.
func clipWrite(off int64, n int, size int64) (int, error) {
	fit, err := clipRead(off, n, size)
	if err != nil {
		err = fmt.Errorf("write of %d bytes at %d of %d: %w", n, off, size, ErrRange)
	}
	return fit, err
}

// checkRange refuses a discard, zero or map request that is not wholly inside
// the device.
func checkRange(off, n, size int64) error {
	if off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("%d bytes at %d of %d: %w", n, off, size, ErrRange)
	}
	return nil
}
