package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"

	"cowhand/dmcore/blockdev"
)

const (
	sparseMin       = 64 << 10  // reads from this length on leave out the zeroes
	sparseChunks    = 32        // in so many chunks at most
	statusWindow    = 128 << 20 // bytes a Mapper is asked about at a time
	maxDescriptors  = 32 << 10  // of one reply
	descriptorBytes = 8
	statusWeight    = 2 << 20 // memory a block status may need: a window of extents of 4 KiB, runs, reply
)

// run is a run of bytes of one status.
type run struct {
	length uint64
	status uint32
}

// appendRuns appends what extents say about the n bytes they cover at most,
// joining neighbours of one status. An extent that makes no sense ends it.
func appendRuns(runs []run, extents []blockdev.Extent, n uint64) (_ []run, covered uint64) {
	for _, e := range extents {
		if e.Length <= 0 || covered == n {
			break
		}
		r := run{length: min(uint64(e.Length), n-covered)}
		if e.Hole {
			r.status |= stateHole
		}
		if e.Zero {
			r.status |= stateZero
		}
		covered += r.length
		if last := len(runs) - 1; last >= 0 && runs[last].status == r.status {
			runs[last].length += r.length
			continue
		}
		runs = append(runs, r)
	}
	return runs, covered
}

// status finds out about n bytes from off on, or the first of them.
func (x *export) status(off, n uint64, one bool) ([]run, error) {
	if x.mapper == nil {
		return []run{{length: n}}, nil
	}
	var runs []run
	for done := uint64(0); done < n; {
		window := min(n-done, statusWindow)
		extents, err := x.mapper.Extents(int64(off+done), int64(window))
		if errors.Is(err, errors.ErrUnsupported) {
			extents, err = []blockdev.Extent{{Length: int64(window)}}, nil
		}
		if err != nil {
			return nil, err
		}
		var covered uint64
		runs, covered = appendRuns(runs, extents, window)
		if covered == 0 {
			return nil, fmt.Errorf("no extents at %d: %w", off+done, errIO)
		}
		done += covered
		if len(runs) > maxDescriptors || one && len(runs) > 1 {
			break
		}
	}
	if one {
		return runs[:1], nil
	}
	return runs[:min(len(runs), maxDescriptors)], nil
}

func (r *request) blockStatus(c *conn) {
	runs, err := c.x.status(r.offset, uint64(r.length), r.flags&cmdFlagReqOne != 0)
	if err != nil {
		r.fail(c.x, err)
		return
	}
	size := 4 + descriptorBytes*len(runs)
	r.buf = c.srv.buffers.get(size)
	b := binary.BigEndian.AppendUint32(r.buf.b[:0], allocationID)
	for _, run := range runs {
		b = binary.BigEndian.AppendUint32(b, uint32(run.length))
		b = binary.BigEndian.AppendUint32(b, run.status)
	}
	r.head = appendChunk(r.space[:0], replyFlagDone, replyBlockStatus, r.cookie, size)
	r.body = b
}

// readSparse answers a read with holes where the device knows of zeroes. It
// does nothing where there are none to speak of.
func (r *request) readSparse(c *conn) (done bool, err error) {
	extents, err := c.x.mapper.Extents(int64(r.offset), int64(r.length))
	if err != nil {
		return false, nil // reading tells what is wrong, if something is
	}
	var space [sparseChunks]run
	runs, covered := appendRuns(space[:0], extents, uint64(r.length))
	if rest := uint64(r.length) - covered; rest > 0 {
		runs = append(runs, run{length: rest})
	}
	zeroes := uint64(0)
	for _, run := range runs {
		if run.status&stateZero != 0 {
			zeroes += run.length
		}
	}
	if zeroes < sparseMin/4 || len(runs) > sparseChunks {
		return false, nil
	}

	r.buf = c.srv.buffers.get(int(r.length-uint32(zeroes)) + len(runs)*(chunkSize+12))
	b, off := r.buf.b[:0], r.offset
	for i, run := range runs {
		flags := uint16(0)
		if i == len(runs)-1 {
			flags = replyFlagDone
		}
		n := int(run.length)
		if run.status&stateZero != 0 {
			b = appendHoleChunk(b, flags, r.cookie, off, n)
		} else {
			b = appendDataChunk(b, flags, r.cookie, off, n)
			data := b[len(b) : len(b)+n]
			if err := readAt(c.x, data, off); err != nil {
				return false, err
			}
			b = b[:len(b)+n]
		}
		off += run.length
	}
	r.head, r.body = b, nil
	return true, nil
}
