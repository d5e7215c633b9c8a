package dmtest

import (
	"bytes"
	"errors"

	"cowhand/dmcore"
)

var inOut = map[string]func(*bench){
	"LinearAndStriped": linearAndStriped,
	"ZeroAndError":     zeroAndError,
	"EndOfDevice":      endOfDevice,
	"ReadOnlyTable":    readOnlyTable,
}

func linearAndStriped(b *bench) {
	x, y := b.Backing(b.T, 256), b.Backing(b.T, 256)
	b.device("x", "0 256 linear %s 0", x)
	b.device("y", "0 256 linear %s 0", y)
	b.device("a", "0 16 linear %s 100\n16 48 striped 2 8 %s 8 %s 16\n64 16 linear %s 200", x, x, y, y)
	data := pattern(1, 80)
	b.put("a", 0, data)
	b.holds("a", 0, data)
	sectors := func(from, n int) []byte { return data[from*512 : (from+n)*512] }
	b.holds("x", 100, sectors(0, 16))
	b.holds("y", 200, sectors(64, 16))
	for i := range 6 { // stripes in turn
		dev, start := "x", 8
		if i%2 == 1 {
			dev, start = "y", 16
		}
		b.holds(dev, dmcore.Sectors(start+i/2*8), sectors(16+i*8, 8))
	}
	b.put("a", 15, pattern(2, 3)) // across the border
	b.holds("a", 15, pattern(2, 3))
	b.holds("a", 18, sectors(18, 62))
	b.ok("sync", b.open("a").Sync())
}

func zeroAndError(b *bench) {
	b.device("a", "0 8 zero\n8 8 error\n16 8 zero")
	b.put("a", 0, pattern(1, 8))
	b.holds("a", 0, make([]byte, 8*512))
	b.is("write to error", b.tryPut("a", 8, make([]byte, 512)), dmcore.ErrIO)
	b.is("read across it", second(b.tryGet("a", 4, 16)), dmcore.ErrIO)
	b.holds("a", 16, make([]byte, 8*512))
}

func endOfDevice(b *bench) {
	x := b.Backing(b.T, 64)
	b.device("a", "0 32 linear %s 0", x)
	h := b.open("a")
	if h.Size() != 32*512 {
		b.Errorf("size %d, want %d", h.Size(), 32*512)
	}
	data := pattern(1, 16)
	if n, err := h.WriteAt(data, 24*512); n != 8*512 || err == nil {
		b.Errorf("write past the end: %d, %v; want %d and an error", n, err, 8*512)
	}
	got := make([]byte, 16*512)
	if n, err := h.ReadAt(got, 24*512); n != 8*512 || err == nil {
		b.Errorf("read past the end: %d, %v; want %d and an error", n, err, 8*512)
	}
	if !bytes.Equal(got[:8*512], data[:8*512]) {
		b.Error("what fits was not written")
	}
	b.load("a", "0 48 linear %s 0", x)
	b.resume("a")
	if h.Size() != 48*512 {
		b.Errorf("size after it grew %d, want %d", h.Size(), 48*512)
	}
}

func readOnlyTable(b *bench) {
	x := b.Backing(b.T, 64)
	low := b.create("a")
	b.ok("load", b.c.Load(b.ctx, b.uuid("a"), b.table("0 64 linear %s 0", x), true))
	b.resume("a")
	if !b.info("a").ReadOnly {
		b.Error("the device is not read-only")
	}
	if d, err := b.Open(b.name("a"), false); err == nil {
		_, err = d.WriteAt(make([]byte, 512), 0)
		d.Close()
		if err == nil {
			b.Error("a read-only device was written")
		}
	} else if !errors.Is(err, dmcore.ErrReadOnly) {
		b.Errorf("open for writing: %v, want %v", err, dmcore.ErrReadOnly)
	}
	b.holds("a", 0, make([]byte, 512))
	// It is so for whoever opens it; a table above writes all the same.
	b.device("on", "0 64 linear %s 0", low)
	b.put("on", 8, pattern(2, 1))
	b.holds("a", 8, pattern(2, 1))
	b.load("a", "0 64 linear %s 0", x)
	b.resume("a")
	b.put("a", 0, pattern(1, 1))
}
