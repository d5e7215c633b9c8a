package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// client asks an NBD server for what a load wants, with simple replies, over one connection. It
// sends all that it may in one system call and reads all that has come in one, so that little of a
// figure is its own (github.com/NetworkBlockDevice/nbd, doc/proto.md, commit 89ba7b5379).
type client struct {
	nc      net.Conn
	r       *bufio.Reader
	size    int64
	payload []byte // of every write
	sink    []byte // of every read
	heads   []byte // a request for each slot
	vec     net.Buffers
}

const (
	maxDepth = 32
	maxBlock = 1 << 20

	requestSize = 28
	replySize   = 16

	cmdRead, cmdWrite, cmdDisc, cmdFlush = 0, 1, 2, 3
)

// dial opens an export. It tries until the server listens or ctx ends.
func dial(ctx context.Context, socket, export string) (*client, error) {
	var d net.Dialer
	for {
		nc, err := d.DialContext(ctx, "unix", socket)
		if err == nil {
			return open(nc, export)
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		case <-time.After(5 * time.Millisecond): // nothing tells when another's program is ready
		}
	}
}

func open(nc net.Conn, export string) (*client, error) {
	c := &client{nc: nc, r: bufio.NewReaderSize(nc, 256<<10),
		payload: pattern(maxBlock), sink: make([]byte, maxBlock), heads: make([]byte, maxDepth*requestSize)}
	if u, ok := nc.(*net.UnixConn); ok {
		u.SetWriteBuffer(maxBlock)
	}
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	if err := c.negotiate(export); err != nil {
		nc.Close()
		return nil, fmt.Errorf("nbd export %q: %w", export, err)
	}
	nc.SetDeadline(time.Now().Add(5 * time.Minute))
	return c, nil
}

func (c *client) negotiate(export string) error {
	hello := make([]byte, 18)
	if _, err := io.ReadFull(c.r, hello); err != nil {
		return err
	}
	if string(hello[:16]) != "NBDMAGICIHAVEOPT" {
		return errors.New("no server of the newstyle")
	}
	const fixedNewstyle, noZeroes, optGo = 1, 2, 7
	msg := binary.BigEndian.AppendUint32(nil, fixedNewstyle|noZeroes)
	msg = append(msg, "IHAVEOPT"...)
	msg = binary.BigEndian.AppendUint32(msg, optGo)
	msg = binary.BigEndian.AppendUint32(msg, uint32(4+len(export)+2))
	msg = binary.BigEndian.AppendUint32(msg, uint32(len(export)))
	msg = append(msg, export...)
	msg = append(msg, 0, 0)
	if _, err := c.nc.Write(msg); err != nil {
		return err
	}
	for {
		head := make([]byte, 20)
		if _, err := io.ReadFull(c.r, head); err != nil {
			return err
		}
		data := make([]byte, min(binary.BigEndian.Uint32(head[16:]), 64<<10))
		if _, err := io.ReadFull(c.r, data); err != nil {
			return err
		}
		const ack, info = 1, 3
		switch kind := binary.BigEndian.Uint32(head[12:]); {
		case kind == ack:
			return nil
		case kind == info && len(data) >= 12 && binary.BigEndian.Uint16(data) == 0:
			c.size = int64(binary.BigEndian.Uint64(data[2:]))
		case kind>>31 == 1:
			return fmt.Errorf("refused with %#x: %s", kind, data)
		}
	}
}

// request makes the request of a slot.
func (c *client) request(slot int, cmd uint16, off int64, n int) []byte {
	b := c.heads[slot*requestSize : (slot+1)*requestSize]
	binary.BigEndian.PutUint32(b, 0x25609513)
	binary.BigEndian.PutUint32(b[4:], uint32(cmd))
	binary.BigEndian.PutUint64(b[8:], uint64(slot))
	binary.BigEndian.PutUint64(b[16:], uint64(off))
	binary.BigEndian.PutUint32(b[24:], uint32(n))
	return b
}

// reply reads one reply and whose it is.
func (c *client) reply(cmd uint16, n int) (slot int, err error) {
	var b [replySize]byte
	if _, err := io.ReadFull(c.r, b[:]); err != nil {
		return 0, err
	}
	if magic := binary.BigEndian.Uint32(b[:]); magic != 0x67446698 {
		return 0, fmt.Errorf("reply magic %#x", magic)
	}
	if errno := binary.BigEndian.Uint32(b[4:]); errno != 0 {
		return 0, fmt.Errorf("the server answers with error %d", errno)
	}
	if cmd == cmdRead {
		_, err = io.ReadFull(c.r, c.sink[:n])
	}
	return int(binary.BigEndian.Uint64(b[8:])), err
}

// run carries out a load, for writes with a flush at the end.
func (c *client) run(l load) error {
	cmd := uint16(cmdRead)
	if l.write {
		cmd = cmdWrite
	}
	sent, inFlight := 0, 0
	send := func(slot int) {
		c.vec = append(c.vec, c.request(slot, cmd, l.at[sent], l.block))
		if l.write {
			c.vec = append(c.vec, c.payload[:l.block])
		}
		sent++
		inFlight++
	}
	for slot := range min(l.depth, len(l.at)) {
		send(slot)
	}
	for inFlight > 0 {
		if err := c.flushVec(); err != nil {
			return err
		}
		for first := true; inFlight > 0 && (first || c.r.Buffered() >= replySize && l.block < maxBlock); first = false {
			slot, err := c.reply(cmd, l.block)
			if err != nil {
				return err
			}
			inFlight--
			if sent < len(l.at) {
				send(slot)
			}
		}
	}
	if l.write {
		return c.flush()
	}
	return nil
}

func (c *client) flushVec() error {
	if len(c.vec) == 0 {
		return nil
	}
	v := c.vec
	_, err := v.WriteTo(c.nc)
	clear(c.vec)
	c.vec = c.vec[:0]
	return err
}

func (c *client) flush() error {
	if _, err := c.nc.Write(c.request(0, cmdFlush, 0, 0)); err != nil {
		return err
	}
	_, err := c.reply(cmdFlush, 0)
	return err
}

// close takes leave.
func (c *client) close() error {
	_, err := c.nc.Write(c.request(0, cmdDisc, 0, 0))
	return errors.Join(err, c.nc.Close())
}
