package engine

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// nbdClient is as much of an NBD client as a writer needs: one request at a
// time, simple replies.
type nbdClient struct {
	net.Conn
	r    *bufio.Reader
	size uint64
}

func dialNBD(t *testing.T, dir, export string) *nbdClient {
	t.Helper()
	c, err := tryNBD(dir, export)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func tryNBD(dir, export string) (*nbdClient, error) {
	nc, err := net.Dial("unix", filepath.Join(dir, nbdName))
	if err != nil {
		return nil, err
	}
	nc.SetDeadline(time.Now().Add(time.Minute)) // a lost reply is a failure, not a hang
	c := &nbdClient{Conn: nc, r: bufio.NewReader(nc)}
	if err := c.handshake(export); err != nil {
		nc.Close()
		return nil, fmt.Errorf("export %s: %w", export, err)
	}
	return c, nil
}

func (c *nbdClient) handshake(export string) error {
	if _, err := c.r.Discard(18); err != nil {
		return err
	}
	be := binary.BigEndian
	b := be.AppendUint32(nil, 3) // fixed newstyle, no zeroes
	b = append(b, "IHAVEOPT"...)
	b = be.AppendUint32(b, 7) // GO
	b = be.AppendUint32(b, uint32(4+len(export)+2))
	b = be.AppendUint32(b, uint32(len(export)))
	b = append(b, export...)
	b = be.AppendUint16(b, 0)
	if _, err := c.Write(b); err != nil {
		return err
	}
	for {
		h := make([]byte, 20)
		if _, err := io.ReadFull(c.r, h); err != nil {
			return err
		}
		payload := make([]byte, be.Uint32(h[16:]))
		if _, err := io.ReadFull(c.r, payload); err != nil {
			return err
		}
		switch kind := be.Uint32(h[12:]); {
		case kind == 1: // ACK
			return nil
		case kind == 3 && be.Uint16(payload) == 0:
			c.size = be.Uint64(payload[2:])
		case kind&(1<<31) != 0:
			return fmt.Errorf("error %#x: %s", kind, payload)
		}
	}
}

func (c *nbdClient) request(cmd uint16, off uint64, n uint32, data, into []byte) error {
	be := binary.BigEndian
	b := be.AppendUint32(nil, 0x25609513)
	b = be.AppendUint16(b, 0)
	b = be.AppendUint16(b, cmd)
	b = be.AppendUint64(b, 1)
	b = be.AppendUint64(b, off)
	b = be.AppendUint32(b, n)
	if _, err := c.Write(append(b, data...)); err != nil {
		return err
	}
	h := make([]byte, 16)
	if _, err := io.ReadFull(c.r, h); err != nil {
		return err
	}
	if e := be.Uint32(h[4:]); e != 0 {
		return fmt.Errorf("nbd command %d: error %d", cmd, e)
	}
	_, err := io.ReadFull(c.r, into)
	return err
}

func (c *nbdClient) read(p []byte, off int64) error {
	return c.request(0, uint64(off), uint32(len(p)), nil, p)
}

func (c *nbdClient) write(p []byte, off int64) error {
	return c.request(1, uint64(off), uint32(len(p)), p, nil)
}

func (c *nbdClient) flush() error { return c.request(3, 0, 0, nil, nil) }

// hangUp closes the connection in an orderly way.
func (c *nbdClient) hangUp() error {
	b := make([]byte, 28)
	binary.BigEndian.PutUint32(b, 0x25609513)
	b[7] = 2
	if _, err := c.Write(b); err != nil {
		return err
	}
	if _, err := c.r.ReadByte(); err != io.EOF {
		return fmt.Errorf("after the end: %v", err)
	}
	return c.Close()
}
