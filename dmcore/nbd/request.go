package nbd

import "errors"

// request is one request and then its reply. It is used again and again.
type request struct {
	header
	weight int
	data   []byte  // of a WRITE
	buf    *buffer // where data or body is, if it was borrowed

	head, body []byte // the reply
	space      [dataChunkSize]byte
}

// zeroChunk is how much is written at a time where a device cannot zero, and
// zeroPiece how much one that can is asked for at a time: a device may copy all
// of it first, and cannot be suspended meanwhile.
const (
	zeroChunk = 1 << 20
	zeroPiece = 64 << 20
)

// small tells whether a reader may carry it out, and how quick a device is can
// be judged by it.
func (r *request) small() bool {
	return r.length <= inlineMax && (r.cmd == cmdRead || r.cmd == cmdWrite && r.flags&cmdFlagFUA == 0)
}

// weight is how much memory a request needs at most, near enough.
func (h *header) weight() int {
	switch h.cmd {
	case cmdRead, cmdWrite:
		return int(h.length)
	case cmdWriteZeroes, cmdCache:
		return int(min(h.length, zeroChunk))
	case cmdBlockStatus:
		return statusWeight
	}
	return 0
}

// do carries out a request that was checked, and makes the reply.
func (r *request) do(c *conn) {
	var err error
	switch r.cmd {
	case cmdRead:
		r.read(c)
		return
	case cmdBlockStatus:
		r.blockStatus(c)
		return
	case cmdWrite:
		err = writeAt(c.x, r.data, r.offset)
	case cmdWriteZeroes:
		err = r.writeZeroes(c)
	case cmdTrim:
		err = r.trim(c)
	case cmdCache:
		err = r.cache(c)
	case cmdFlush:
		err = c.sync.Sync()
	}
	changed := r.cmd == cmdWrite || r.cmd == cmdWriteZeroes || r.cmd == cmdTrim
	if err == nil && changed && r.flags&cmdFlagFUA != 0 {
		err = c.sync.Sync()
	}
	if err != nil {
		r.fail(c.x, err)
		return
	}
	r.head = appendSimple(r.space[:0], 0, r.cookie)
}

// fail makes the reply of an error, with words where they can be had.
func (r *request) fail(x *export, err error) {
	r.body = nil
	if x.structured {
		r.head = appendErrorChunk(r.space[:0], r.cookie, number(err), message(err))
		return
	}
	r.head = appendSimple(r.space[:0], number(err), r.cookie)
}

func (r *request) read(c *conn) {
	if c.x.structured && r.length == 0 {
		r.head = appendChunk(r.space[:0], replyFlagDone, replyNone, r.cookie, 0)
		return
	}
	if r.length >= sparseMin && c.x.structured && c.x.mapper != nil && r.flags&cmdFlagDF == 0 {
		if done, err := r.readSparse(c); err != nil {
			r.fail(c.x, err)
			return
		} else if done {
			return
		}
	}
	r.buf = c.srv.buffers.get(int(r.length))
	if err := readAt(c.x, r.buf.b, r.offset); err != nil {
		r.fail(c.x, err)
		return
	}
	r.body = r.buf.b
	if c.x.structured {
		r.head = appendDataChunk(r.space[:0], replyFlagDone, r.cookie, r.offset, len(r.body))
	} else {
		r.head = appendSimple(r.space[:0], 0, r.cookie)
	}
}

func (r *request) writeZeroes(c *conn) error {
	if c.x.zeroer != nil && r.length > 0 {
		err := c.chunks(r, zeroPiece, func(off uint64, n int) error {
			return c.x.zeroer.Zero(int64(off), int64(n), r.flags&cmdFlagNoHole == 0)
		})
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	if r.flags&cmdFlagFastZero != 0 {
		return errNotSup
	}
	buf := c.srv.buffers.get(int(min(r.length, zeroChunk)))
	defer c.srv.buffers.put(buf)
	clear(buf.b)
	return c.chunks(r, len(buf.b), func(off uint64, n int) error { return writeAt(c.x, buf.b[:n], off) })
}

func (r *request) trim(c *conn) error {
	if r.length == 0 {
		return nil
	}
	err := c.x.discarder.Discard(int64(r.offset), int64(r.length))
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // a hint not taken
	}
	return err
}

// cache reads what the client is going to read, so that it is in memory.
func (r *request) cache(c *conn) error {
	buf := c.srv.buffers.get(int(min(r.length, zeroChunk)))
	defer c.srv.buffers.put(buf)
	return c.chunks(r, len(buf.b), func(off uint64, n int) error { return readAt(c.x, buf.b[:n], off) })
}

// chunks calls do for one part of r after the other, while somebody may be
// waiting for the end of it.
func (c *conn) chunks(r *request, size int, do func(off uint64, n int) error) error {
	for off, end := r.offset, r.offset+uint64(r.length); off < end; {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		n := min(size, int(end-off))
		if err := do(off, n); err != nil {
			return err
		}
		off += uint64(n)
	}
	return nil
}

// readAt reads all of p. What is read whole is good: at the end of a device
// io.EOF may come with it.
func readAt(x *export, p []byte, off uint64) error {
	if n, err := x.dev.ReadAt(p, int64(off)); n < len(p) {
		return orIO(err)
	}
	return nil
}

func writeAt(x *export, p []byte, off uint64) error {
	if n, err := x.dev.WriteAt(p, int64(off)); err != nil || n < len(p) {
		return orIO(err)
	}
	return nil
}

// orIO makes an error of a short transfer without one.
func orIO(err error) error {
	if err == nil {
		return errIO
	}
	return err
}
