package nbd

import "io"

// inputSize holds a good number of small requests: a queue of 32 writes of 4
// KiB is taken in one system call.
const inputSize = 128 << 10

// What fill is asked for has to fit: a request whose payload is used in place,
// the data of an option.
const (
	_ = uint(inputSize - requestSize - inlineMax)
	_ = uint(inputSize - maxOption)
)

// input is the bytes a client sent, read ahead as far as they are there.
type input struct {
	r      io.Reader
	buf    []byte
	lo, hi int // buf[lo:hi] is not consumed yet

	// narrow takes only what is asked for, because what follows is probably a
	// large payload that would have to be copied.
	narrow bool
}

func newInput(r io.Reader) *input { return &input{r: r, buf: make([]byte, inputSize)} }

func (in *input) buffered() int { return in.hi - in.lo }

// fill waits until n bytes, at most the size of the buffer, are at hand.
func (in *input) fill(n int) error {
	if in.buffered() >= n {
		return nil
	}
	if in.lo == in.hi {
		in.lo, in.hi = 0, 0
	} else if in.lo+n > len(in.buf) {
		in.hi = copy(in.buf, in.buf[in.lo:in.hi])
		in.lo = 0
	}
	end := len(in.buf)
	if in.narrow {
		end = in.lo + n
	}
	for in.buffered() < n {
		m, err := in.r.Read(in.buf[in.hi:end])
		in.hi += m
		if err != nil && in.buffered() < n {
			if err == io.EOF && in.buffered() > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return nil
}

// peek shows n bytes that are at hand.
func (in *input) peek(n int) []byte { return in.buf[in.lo : in.lo+n] }

// take consumes n bytes that are at hand. They are valid until the next fill.
func (in *input) take(n int) []byte {
	b := in.buf[in.lo : in.lo+n]
	in.lo += n
	return b
}

// readFull fills p, with what is at hand and then without a detour.
func (in *input) readFull(p []byte) error {
	n := copy(p, in.buf[in.lo:in.hi])
	in.lo += n
	if n == len(p) {
		return nil
	}
	_, err := io.ReadFull(in.r, p[n:])
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// discard reads n bytes and forgets them.
func (in *input) discard(n int) error {
	for n > 0 {
		if err := in.fill(1); err == io.EOF {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
		m := min(n, in.buffered())
		in.lo += m
		n -= m
	}
	return nil
}

// split gives the unread bytes a buffer of their own, so that whoever works on
// bytes taken from the old one keeps them.
func (in *input) split() *input {
	next := newInput(in.r)
	next.hi = copy(next.buf, in.buf[in.lo:in.hi])
	return next
}
