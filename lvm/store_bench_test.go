package lvm

import (
	"fmt"
	"testing"
)

// A group of 3,000 volumes: what a change of one costs.
func BenchmarkStoreWideVG(b *testing.B) {
	r := newRig(2)
	r.group(b, "vg0", PVOptions{MetadataSize: 6 << 20, DataAlignment: 1 << 10}, "m0")
	vg := r.load(b, "vg0")
	vg.PVs[0].DevSize, vg.PVs[0].PECount = 1<<30, 1<<20
	for i := range 3000 {
		if _, err := vg.AddLinear(LinearSpec{Name: fmt.Sprintf("lv%d", i), Size: Size{Count: 1}}); err != nil {
			b.Fatal(err)
		}
	}
	p, err := r.Prepare(b.Context(), vg)
	if err != nil {
		b.Fatal(err)
	}
	if err := p.Commit(); err != nil {
		b.Fatal(err)
	}
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			r.load(b, "vg0")
		}
	})
	b.Run("load cold", func(b *testing.B) {
		for b.Loop() {
			r.Store.parsed = nil
			r.load(b, "vg0")
		}
	})
	b.Run("prepare", func(b *testing.B) {
		vg := r.load(b, "vg0")
		for i := 0; b.Loop(); i++ {
			vg.LVs[5].Tags = []string{fmt.Sprint("n", i)}
			p, err := r.Prepare(b.Context(), vg)
			if err != nil {
				b.Fatal(err)
			}
			if err := p.Abort(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("commit", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			p, err := r.Prepare(b.Context(), r.load(b, "vg0"))
			if err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			if err := p.Commit(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
