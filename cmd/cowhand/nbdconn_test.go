package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// nbdConn is the least client of NBD that can read and write: the old option
// EXPORT_NAME and simple replies (the protocol's doc/proto.md).
type nbdConn struct {
	net.Conn
	size   int64
	handle uint64
}

const (
	nbdRead, nbdWrite, nbdDisconnect, nbdFlush = 0, 1, 2, 3

	nbdRequestMagic = 0x25609513
	nbdReplyMagic   = 0x67446698
)

func dialNBD(socket, export string) (*nbdConn, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	c := &nbdConn{Conn: conn}
	if err := c.handshake(export); err != nil {
		conn.Close()
		return nil, fmt.Errorf("nbd %s: %w", export, err)
	}
	return c, nil
}

func (c *nbdConn) handshake(export string) error {
	hello := make([]byte, 18)
	if _, err := io.ReadFull(c, hello); err != nil {
		return err
	}
	if string(hello[:16]) != "NBDMAGICIHAVEOPT" {
		return fmt.Errorf("greeting is %q", hello)
	}
	const fixedNewstyle, noZeroes = 1, 2
	ask := binary.BigEndian.AppendUint32(nil, fixedNewstyle|noZeroes)
	ask = append(ask, "IHAVEOPT"...)
	ask = binary.BigEndian.AppendUint32(ask, 1) // EXPORT_NAME
	ask = binary.BigEndian.AppendUint32(ask, uint32(len(export)))
	if _, err := c.Write(append(ask, export...)); err != nil {
		return err
	}
	info := make([]byte, 10)
	if _, err := io.ReadFull(c, info); err != nil {
		return err
	}
	c.size = int64(binary.BigEndian.Uint64(info))
	return nil
}

func (c *nbdConn) request(kind uint16, offset, length int64, data []byte) error {
	c.handle++
	q := binary.BigEndian.AppendUint32(nil, nbdRequestMagic)
	q = binary.BigEndian.AppendUint16(q, 0)
	q = binary.BigEndian.AppendUint16(q, kind)
	q = binary.BigEndian.AppendUint64(q, c.handle)
	q = binary.BigEndian.AppendUint64(q, uint64(offset))
	q = binary.BigEndian.AppendUint32(q, uint32(length))
	if _, err := c.Write(append(q, data...)); err != nil || kind == nbdDisconnect {
		return err
	}
	reply := make([]byte, 16)
	if _, err := io.ReadFull(c, reply); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(reply) != nbdReplyMagic || binary.BigEndian.Uint64(reply[8:]) != c.handle {
		return fmt.Errorf("reply is % x", reply)
	}
	if code := binary.BigEndian.Uint32(reply[4:]); code != 0 {
		return fmt.Errorf("request %d at %d: error %d", kind, offset, code)
	}
	return nil
}

const nbdPiece = 1 << 20

// write fills a part of the volume and flushes.
func (c *nbdConn) write(offset, length int64, fill byte) error {
	for length > 0 {
		n := min(length, nbdPiece)
		if err := c.request(nbdWrite, offset, n, bytes.Repeat([]byte{fill}, int(n))); err != nil {
			return err
		}
		offset, length = offset+n, length-n
	}
	return c.request(nbdFlush, 0, 0, nil)
}

// reads checks that a part of the volume holds one byte only.
func (c *nbdConn) reads(offset, length int64, fill byte) error {
	buf := make([]byte, nbdPiece)
	for length > 0 {
		n := min(length, nbdPiece)
		if err := c.request(nbdRead, offset, n, nil); err != nil {
			return err
		}
		if _, err := io.ReadFull(c, buf[:n]); err != nil {
			return err
		}
		for i, b := range buf[:n] {
			if b != fill {
				return fmt.Errorf("byte %d reads as %#x, want %#x", offset+int64(i), b, fill)
			}
		}
		offset, length = offset+n, length-n
	}
	return nil
}

// disconnect ends the connection, and returns when the server has.
func (c *nbdConn) disconnect() error {
	if err := c.request(nbdDisconnect, 0, 0, nil); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	return c.Close()
}
