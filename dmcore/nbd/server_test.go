package nbd

import (
	"bytes"
	"testing"
)

func TestReadWriteFlush(t *testing.T) {
	for _, o := range []clientOptions{{simple: true}, {}} {
		dev := newDevice(1 << 20)
		c := dial(t, start(t, &Server{Exports: exports{"vg/lv": {dev: dev}}}), "vg/lv", o)
		if c.size != 1<<20 {
			t.Fatalf("size %d", c.size)
		}
		for _, n := range []int{512, 4096, 128 << 10, 1 << 20} {
			want := bytes.Repeat([]byte{byte(n >> 9), 2, 3, 4}, n/4)
			if r, err := c.do(cmdWrite, 0, 0, want); err != nil || r.err != 0 {
				t.Fatalf("write %d: %v, %v", n, r.err, err)
			}
			got := make([]byte, n)
			if r, err := c.do(cmdRead, 0, 0, got); err != nil || r.err != 0 {
				t.Fatalf("read %d: %v, %v", n, r.err, err)
			}
			if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: read back differs", n)
			}
		}
		if r, err := c.do(cmdFlush, 0, 0, nil); err != nil || r.err != 0 || dev.syncs.Load() != 1 {
			t.Fatalf("flush: %v, %v, %d syncs", r.err, err, dev.syncs.Load())
		}
	}
}
