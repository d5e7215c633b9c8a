package nbd

import (
	"fmt"
	"io"
	"testing"

	"cowhand/dmcore/blockdev"
)

// array is the quickest of devices.
type array []byte

func (a array) ReadAt(p []byte, off int64) (int, error) {
	if n := copy(p, a[off:]); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}

func (a array) WriteAt(p []byte, off int64) (int, error) { return copy(a[off:], p), nil }
func (a array) Size() int64                              { return int64(len(a)) }
func (a array) Sync() error                              { return nil }
func (a array) Close() error                             { return nil }

// A request costs no memory, wherever it is carried out.
func TestNoAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("under the race detector a sync.Pool forgets things on purpose")
	}
	for _, o := range []clientOptions{{simple: true}, {}} {
		c := dial(t, start(t, &Server{Exports: exports{"x": {dev: array(make([]byte, 1<<20))}}}), "x", o)
		p := make([]byte, 1<<20)
		for _, tt := range []struct {
			name       string
			cmd, flags uint16
			n          int
		}{
			{"read 4K", cmdRead, 0, 4096},
			{"write 4K", cmdWrite, 0, 4096},
			{"write 4K with FUA", cmdWrite, cmdFlagFUA, 4096},
			{"read 256K", cmdRead, 0, 256 << 10},
			{"write 256K", cmdWrite, 0, 256 << 10},
			{"write 1M", cmdWrite, 0, 1 << 20},
			{"zero 256K", cmdWriteZeroes, 0, 256 << 10},
			{"flush", cmdFlush, 0, 0},
		} {
			allocs := testing.AllocsPerRun(200, func() {
				if r, err := c.do(tt.cmd, tt.flags, 0, p[:tt.n]); err != nil || r.err != 0 {
					t.Fatal(r.err, err)
				}
			})
			if allocs != 0 {
				t.Errorf("simple replies %v: %s: %v allocations", o.simple, tt.name, allocs)
			}
		}
	}
}

// BenchmarkRequests has a client with some requests always in flight. It says
// what server and client together need.
func BenchmarkRequests(b *testing.B) {
	for _, bb := range []struct {
		cmd      uint16
		n, depth int
	}{
		{cmdRead, 4096, 1}, {cmdRead, 4096, 32}, {cmdRead, 64 << 10, 8}, {cmdRead, 256 << 10, 8},
		{cmdWrite, 4096, 1}, {cmdWrite, 4096, 32}, {cmdWrite, 64 << 10, 8}, {cmdWrite, 256 << 10, 8},
		{cmdFlush, 0, 32},
	} {
		name := map[uint16]string{cmdRead: "read", cmdWrite: "write", cmdFlush: "flush"}[bb.cmd]
		b.Run(fmt.Sprintf("%s/%dK/depth=%d", name, bb.n>>10, bb.depth), func(b *testing.B) {
			var dev blockdev.Device = array(make([]byte, 64<<20))
			c := dial(b, start(b, &Server{Exports: exports{"x": {dev: dev}}}), "x", clientOptions{})
			p, data := make([]byte, bb.n), []byte(nil)
			if bb.cmd == cmdWrite {
				data = make([]byte, bb.n)
			}
			b.SetBytes(int64(bb.n))
			b.ReportAllocs()
			places := 64 << 20 / max(bb.n, 4096)
			at := func(i int) uint64 { return uint64(i%places) * uint64(bb.n) }
			tokens := make(chan struct{}, bb.depth)
			b.ResetTimer()
			go func() {
				for i := range b.N {
					tokens <- struct{}{}
					c.send(bb.cmd, 0, at(i), uint32(bb.n), data)
				}
			}()
			for range b.N {
				if err := c.skipReply(p); err != nil {
					b.Fatal(err)
				}
				<-tokens
			}
		})
	}
}

// skipReply takes a reply of one chunk, wherever its data belongs.
func (c *client) skipReply(p []byte) error {
	b, err := c.peek(4)
	if err != nil {
		return err
	}
	if b[0] == magicSimple>>24 {
		_, err = c.r.Discard(simpleSize)
		return err
	}
	if _, err := c.r.Discard(dataChunkSize); err != nil {
		return err
	}
	_, err = io.ReadFull(c.r, p)
	return err
}
