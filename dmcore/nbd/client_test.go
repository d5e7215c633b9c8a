package nbd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
)

// start serves x on a socket until the test ends.
func start(tb testing.TB, s *Server) (socket string) {
	tb.Helper()
	socket = filepath.Join(tb.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Serve(ctx, l) }()
	tb.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return socket
}

// client is the other end of a connection, no more than tests need.
type client struct {
	net.Conn
	r          *bufio.Reader
	size       uint64
	flags      uint16
	structured bool
	cookie     uint64
	buf        []byte
}

type clientOptions struct{ simple, noMeta bool }

// dial opens an export.
func dial(tb testing.TB, socket, name string, o clientOptions) *client {
	tb.Helper()
	nc, err := net.Dial("unix", socket)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	c, err := open(nc, name, o)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func open(nc net.Conn, name string, o clientOptions) (*client, error) {
	c := &client{Conn: nc, r: bufio.NewReaderSize(nc, 256<<10), structured: !o.simple}
	return c, c.open(name, o)
}

func (c *client) open(name string, o clientOptions) error {
	if _, err := c.r.Discard(18); err != nil {
		return err
	}
	c.Write(binary.BigEndian.AppendUint32(nil, flagFixedNewstyle|flagNoZeroes))
	if !o.simple {
		if _, err := c.option(optStructuredReply, nil); err != nil {
			return err
		}
		if !o.noMeta {
			if _, err := c.option(optSetMetaContext, metaOption(name, contextAllocation)); err != nil {
				return err
			}
		}
	}
	infos, err := c.option(optGo, infoOption(name, infoBlockSize))
	if err != nil {
		return err
	}
	for _, b := range infos {
		if binary.BigEndian.Uint16(b) == infoExport {
			c.size = binary.BigEndian.Uint64(b[2:])
			c.flags = binary.BigEndian.Uint16(b[10:])
		}
	}
	return nil
}

func option(opt uint32, data []byte) []byte {
	b := binary.BigEndian.AppendUint64(nil, magicOption)
	b = binary.BigEndian.AppendUint32(b, opt)
	b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

func lengthAndString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func infoOption(name string, kinds ...uint16) []byte {
	b := lengthAndString(nil, name)
	b = binary.BigEndian.AppendUint16(b, uint16(len(kinds)))
	for _, k := range kinds {
		b = binary.BigEndian.AppendUint16(b, k)
	}
	return b
}

func metaOption(name string, queries ...string) []byte {
	b := lengthAndString(nil, name)
	b = binary.BigEndian.AppendUint32(b, uint32(len(queries)))
	for _, q := range queries {
		b = lengthAndString(b, q)
	}
	return b
}

// option sends an option and returns the data of the replies before the ACK.
func (c *client) option(opt uint32, data []byte) (replies [][]byte, err error) {
	c.Write(option(opt, data))
	for {
		var h [20]byte
		if _, err := io.ReadFull(c.r, h[:]); err != nil {
			return nil, err
		}
		kind := binary.BigEndian.Uint32(h[12:])
		b := make([]byte, binary.BigEndian.Uint32(h[16:]))
		if _, err := io.ReadFull(c.r, b); err != nil {
			return nil, err
		}
		switch {
		case kind == repAck:
			return replies, nil
		case kind>>31 == 1:
			return nil, fmt.Errorf("option %d: error %d: %s", opt, kind&^(1<<31), b)
		}
		replies = append(replies, b)
	}
}

// send sends a request and returns its cookie.
func (c *client) send(cmd, flags uint16, off uint64, n uint32, data []byte) uint64 {
	c.cookie++
	c.buf = append(appendRequest(c.buf[:0], header{flags, cmd, c.cookie, off, n}), data...)
	c.Write(c.buf)
	return c.cookie
}

func appendRequest(b []byte, h header) []byte {
	b = binary.BigEndian.AppendUint32(b, magicRequest)
	b = binary.BigEndian.AppendUint16(b, h.flags)
	b = binary.BigEndian.AppendUint16(b, h.cmd)
	b = binary.BigEndian.AppendUint64(b, h.cookie)
	b = binary.BigEndian.AppendUint64(b, h.offset)
	return binary.BigEndian.AppendUint32(b, h.length)
}

// reply is what a request was answered with. The bytes of a READ are where the
// caller of receive wanted them, at their offset from the start of the request.
type reply struct {
	cookie uint64
	err    errno
	text   string
	holes  int
	runs   []run
}

// receive takes the next message and, if it is a chunk, the rest of its reply,
// which must not be mixed with others. p is the payload of a READ at off.
func (c *client) receive(p []byte, off uint64) (r reply, err error) {
	for {
		b, err := c.peek(4)
		if err != nil {
			return r, err
		}
		switch binary.BigEndian.Uint32(b) {
		case magicSimple:
			if b, err = c.peek(simpleSize); err != nil {
				return r, err
			}
			r.err = errno(binary.BigEndian.Uint32(b[4:]))
			r.cookie = binary.BigEndian.Uint64(b[8:])
			c.r.Discard(simpleSize)
			if r.err == 0 && !c.structured {
				_, err = io.ReadFull(c.r, p)
			}
			return r, err
		case magicStructured:
			done, err := c.chunk(&r, p, off)
			if err != nil || done {
				return r, err
			}
		default:
			return r, fmt.Errorf("reply magic %x", b)
		}
	}
}

func (c *client) peek(n int) ([]byte, error) { return c.r.Peek(n) }

func (c *client) chunk(r *reply, p []byte, off uint64) (done bool, err error) {
	b, err := c.peek(chunkSize)
	if err != nil {
		return false, err
	}
	flags, kind := binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:])
	cookie, n := binary.BigEndian.Uint64(b[8:]), int(binary.BigEndian.Uint32(b[16:]))
	if r.cookie != 0 && r.cookie != cookie {
		return false, errors.New("chunks of two replies are mixed")
	}
	r.cookie = cookie
	c.r.Discard(chunkSize)
	if kind == replyOffsetData {
		if b, err = c.peek(8); err != nil {
			return false, err
		}
		at := binary.BigEndian.Uint64(b) - off
		c.r.Discard(8)
		if at > uint64(len(p)) || uint64(n-8) > uint64(len(p))-at {
			return false, fmt.Errorf("data chunk of %d bytes at %d of %d", n-8, at, len(p))
		}
		_, err = io.ReadFull(c.r, p[at:][:n-8])
		return flags&replyFlagDone != 0, err
	}
	b = make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return false, err
	}
	switch kind {
	case replyNone:
	case replyOffsetHole:
		at, n := binary.BigEndian.Uint64(b)-off, uint64(binary.BigEndian.Uint32(b[8:]))
		if at > uint64(len(p)) || n > uint64(len(p))-at || n == 0 {
			return false, fmt.Errorf("hole of %d bytes at %d of %d", n, at, len(p))
		}
		clear(p[at:][:n])
		r.holes++
	case replyBlockStatus:
		for b = b[4:]; len(b) > 0; b = b[8:] {
			r.runs = append(r.runs, run{uint64(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint32(b[4:])})
		}
	case replyError:
		r.err = errno(binary.BigEndian.Uint32(b))
		r.text = string(b[6:])
	default:
		return false, fmt.Errorf("chunk type %#x", kind)
	}
	return flags&replyFlagDone != 0, nil
}

// do sends a request and waits for its reply.
func (c *client) do(cmd, flags uint16, off uint64, p []byte) (reply, error) {
	var data []byte
	if cmd == cmdWrite {
		data = p
	}
	cookie := c.send(cmd, flags, off, uint32(len(p)), data)
	if cmd != cmdRead {
		p = nil
	}
	r, err := c.receive(p, off)
	if err == nil && r.cookie != cookie {
		err = fmt.Errorf("cookie %d, want %d", r.cookie, cookie)
	}
	return r, err
}
