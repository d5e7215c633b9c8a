package dmtest

import (
	"bytes"
	"errors"
	"fmt"

	"cowhand/dmcore"
)

var thin = map[string]func(*bench){
	"ThinProvisions":     thinProvisions,
	"ThinSnapshots":      thinSnapshots,
	"ThinExternalOrigin": thinExternalOrigin,
	"ThinDiscards":       thinDiscards,
	"ThinDiscardIgnored": thinDiscardIgnored,
	"ThinStaysOnDisk":    thinStaysOnDisk,
	"ThinPoolRefuses":    thinPoolRefuses,
	"ThinRefuses":        thinRefuses,
	"ThinMessages":       thinMessages,
	"ThinPoolGrows":      thinPoolGrows,
	"ThinPoolFullFails":  thinPoolFullFails,
	"ThinPoolFullQueues": thinPoolFullQueues,
	"ThinPoolLow":        thinPoolLow,
	"ThinPoolReadOnly":   thinPoolReadOnly,
	"ThinPoolSuspends":   thinPoolSuspends,
	"ThinSkipsZeroing":   thinSkipsZeroing,
}

func thinProvisions(b *bench) {
	p := newPool(b, 16, "0")
	want := "0 thin-pool " + string(p.meta) // begins the table
	if t, err := p.c.Table(p.ctx, p.uuid("pool")); err != nil || fmt.Sprint(t)[:2] != want[:2] || t[0].Target.Type() != "thin-pool" {
		p.Errorf("table %v, %v", t, err)
	}
	p.thin("a", 7, 100) // more than there is
	p.holds("a", 0, zeroes(256))
	p.maps("a", "0 -")
	p.put("a", 200, pattern(1, 1))
	p.holds("a", 199, zeroes(1))
	p.holds("a", 200, pattern(1, 1))
	p.holds("a", 201, zeroes(55))
	p.maps("a", "128 255")
	p.put("a", 120, pattern(2, 200)) // half a block, one there already, and a piece
	p.holds("a", 120, pattern(2, 200))
	p.holds("a", 320, zeroes(64))
	p.maps("a", "384 383")
	p.put("a", 99*128, pattern(3, 128))
	p.maps("a", "512 12799")
	p.commit("a")
	s := p.status()
	if s.UsedData != 4 || s.TotalData != 16 || s.TotalMetadata != thinMeta/8 || s.Mode != dmcore.ThinPoolWritable ||
		s.Discard != dmcore.DiscardPassdown || s.ErrorIfNoSpace || s.NeedsCheck || s.HeldRoot != 0 || s.LowWater != thinMeta/8/4 {
		p.Errorf("status %+v", s)
	}
	p.suspend("a")
	p.resume("a")
	p.suspend("pool")
	p.resume("pool")
	p.holds("a", 120, pattern(2, 200))
	p.load("a", "0 %d thin %s 7", 2*128, p.pool) // smaller; what is behind stays
	p.resume("a")
	p.maps("a", "512 12799")
	p.load("a", "0 %d thin %s 7", 100*128, p.pool)
	p.resume("a")
	p.holds("a", 99*128, pattern(3, 128))
}

func thinSnapshots(b *bench) {
	p := newPool(b, 32, "0")
	p.thin("a", 0, 8)
	p.put("a", 0, pattern(1, 4*128))
	p.snap("s", 1, "a", 0, 8)
	p.snap("t", 2, "s", 1, 8)
	p.uses(4)
	p.put("a", 130, pattern(2, 2))   // a part of a block
	p.put("s", 256, pattern(3, 128)) // all of one
	p.put("t", 300, pattern(4, 400)) // and what nobody has
	old := pattern(1, 4*128)
	at := func(n int) []byte { return old[n*512:] }
	p.holds("a", 0, old[:130*512])
	p.holds("a", 130, pattern(2, 2))
	p.holds("a", 132, at(132))
	p.holds("s", 0, old[:256*512])
	p.holds("s", 256, pattern(3, 128))
	p.holds("s", 384, at(384))
	p.holds("t", 0, old[:300*512])
	p.holds("t", 300, pattern(4, 400))
	p.holds("t", 700, zeroes(100))
	p.commit("a")
	p.commit("t")
	p.uses(4 + 1 + 1 + 4)
	p.maps("a", "512 511")
	p.maps("t", "768 767")
	p.is("delete what is mapped", p.trySend(dmcore.DeleteThin(1)), dmcore.ErrBusy)
	p.ok("remove", p.c.Remove(p.ctx, p.uuid("s")))
	p.send(dmcore.DeleteThin(1))
	p.uses(4 + 1 + 4)
	p.holds("t", 0, old[:300*512])
	p.is("map what is deleted", p.tryLoad("a", "0 128 thin %s 1", p.pool), dmcore.ErrNotFound)
}

func thinExternalOrigin(b *bench) {
	p := newPool(b, 16, "0")
	base := b.Backing(b.T, 300)
	x := p.device("x", "0 300 linear %s 0", base)
	p.put("x", 0, pattern(9, 300))
	p.send(dmcore.CreateThin(1))
	p.device("a", "0 640 thin %s 1 %s", p.pool, x)
	p.holds("a", 0, pattern(9, 300)[:256*512])
	p.put("a", 5, pattern(1, 1))
	p.put("a", 290, pattern(2, 1)) // in the block where the origin ends
	p.put("a", 600, pattern(3, 1)) // behind it
	old := pattern(9, 300)
	p.holds("a", 0, old[:5*512])
	p.holds("a", 5, pattern(1, 1))
	p.holds("a", 6, old[6*512:290*512])
	p.holds("a", 290, pattern(2, 1))
	p.holds("a", 291, old[291*512:])
	p.holds("a", 300, zeroes(84))
	p.holds("a", 512, zeroes(88))
	p.holds("a", 600, pattern(3, 1))
	p.holds("x", 0, old)
	p.maps("a", "384 639")
	p.is("the pool as origin", p.tryLoad("a", "0 128 thin %s 1 %s", p.pool, p.pool), dmcore.ErrInvalid)
}

func thinDiscards(b *bench) {
	for _, rest := range []string{"0", "0 1 no_discard_passdown"} {
		p := newPool(b, 16, rest)
		p.thin("a", 1, 16)
		p.put("a", 0, pattern(1, 6*128))
		p.snap("s", 2, "a", 1, 16)
		p.put("a", 0, pattern(2, 128))
		p.uses(7)
		p.ok("discard", p.discard("a", 100, 428)) // all of blocks 1 to 3, a part of 0 and 4
		p.commit("a")
		p.maps("a", "384 767")
		p.uses(7)
		p.holds("a", 128, zeroes(384))
		p.holds("s", 0, pattern(1, 6*128))
		p.holds("a", 528, pattern(1, 6*128)[528*512:])
		p.ok("discard", p.discard("s", 0, 6*128))
		p.commit("s")
		p.holds("s", 0, zeroes(6*128))
		p.holds("a", 528, pattern(1, 6*128)[528*512:])
		p.uses(3)
		p.put("s", 256, pattern(3, 1))
		p.holds("s", 257, zeroes(127))
		p.ok("discard less than a block", p.discard("s", 257, 100))
		p.holds("s", 256, pattern(3, 1))
		for _, short := range []string{"a", "s", "pool", "meta", "data"} {
			p.ok("remove "+short, p.close(short))
		}
	}
}

func thinDiscardIgnored(b *bench) {
	p := newPool(b, 16, "0 1 ignore_discard")
	p.thin("a", 1, 16)
	p.put("a", 0, pattern(1, 128))
	if err := p.discard("a", 0, 128); !errors.Is(err, errors.ErrUnsupported) {
		p.Errorf("discard: %v, want unsupported", err)
	}
	p.holds("a", 0, pattern(1, 128))
	if s := p.status(); s.Discard != dmcore.DiscardIgnored {
		p.Errorf("status %s", s)
	}
	p.is("discards all at once", p.tryLoad("pool", "0 %d thin-pool %s %s %d 0", 16*128, p.meta, p.data, thinBlock), dmcore.ErrInvalid)
}

func thinRefuses(b *bench) {
	p := newPool(b, 16, "0")
	p.create("a")
	p.is("an id that is not there", p.tryLoad("a", "0 128 thin %s 4", p.pool), dmcore.ErrNotFound)
	p.is("no pool", p.tryLoad("a", "0 128 thin %s 4", p.data), dmcore.ErrInvalid)
	p.send(dmcore.CreateThin(4))
	p.suspend("pool")
	p.is("while the pool is suspended", p.tryLoad("a", "0 128 thin %s 4", p.pool), dmcore.ErrInvalid)
	p.resume("pool")
	p.load("a", "0 128 thin %s 4", p.pool)
	p.resume("a")
	p.is("remove a pool in use", p.c.Remove(p.ctx, p.uuid("pool")), dmcore.ErrBusy)
}

// thinSkipsZeroing: what lay in a new block is to be seen, if that was asked for.
func thinSkipsZeroing(b *bench) {
	p := newPool(b, 4, "0 1 skip_block_zeroing")
	p.thin("a", 1, 4)
	p.put("a", 0, pattern(1, 4*128))
	p.ok("remove", p.close("a"))
	p.send(dmcore.DeleteThin(1), dmcore.CreateThin(2))
	p.mapThin("b", 2, 4)
	p.put("b", 0, pattern(2, 8))
	got := p.get("b", 8, 120)
	old := pattern(1, 4*128)
	if !bytes.Contains(old, got) {
		p.Error("a block was zeroed")
	}
}
