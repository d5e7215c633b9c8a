package lvm

import (
	"fmt"
	"slices"
	"sort"
)

// ExtendLV makes a volume to extents long: a plain volume, or the store of a
// snapshot, which takes no more than is useful (nothing at all, if it has that
// already). Extents next to the volume's end are preferred; pvs limits where
// others are taken. The notes tell people what was done differently from what
// was asked.
func (vg *VG) ExtendLV(name string, to Extents, pvs ...string) (notes []string, err error) {
	lv := vg.LV(name)
	if lv == nil {
		return nil, vg.fail(name, "extend", ErrNotFound)
	}
	if notes, err = vg.extend(lv, to, pvs); err != nil {
		return nil, vg.fail(name, "extend", err)
	}
	return notes, nil
}

func (vg *VG) extend(lv *LV, to Extents, pvs []string) ([]string, error) {
	links := vg.links()
	if snaps := links.byOrigin[lv.Name]; len(snaps) > 0 {
		return nil, fmt.Errorf("it has %d snapshots: %w", len(snaps), ErrInUse)
	}
	k, isCOW := links.byCOW[lv.Name]
	if isCOW && k.seg.Merging {
		return nil, fmt.Errorf("into %s: %w", k.seg.Origin, ErrMerging)
	}
	if !isCOW && !links.shown(lv) {
		return nil, fmt.Errorf("it is hidden: %w", ErrInvalid)
	}
	if err := vg.canChange(lv); err != nil {
		return nil, err
	}
	if err := vg.checkPVs(pvs); err != nil {
		return nil, err
	}
	have, free := lv.Extents(), vg.space(pvs)
	if to > MaxExtents || vg.Sectors(to) > maxSectors {
		return nil, fmt.Errorf("%d extents, a volume has at most %d: %w", to, MaxExtents, ErrInvalid)
	}
	if to <= have {
		return nil, fmt.Errorf("%s asked for, it has %s: %w", HumanSize(vg.Sectors(to)), HumanSize(vg.Sectors(have)), ErrInvalid)
	}
	if lv.thin() {
		return vg.extendThin(lv, to, pvs)
	}
	var notes []string
	if isCOW {
		origin := vg.LV(k.seg.Origin)
		if origin == nil {
			return nil, fmt.Errorf("its origin %s: %w", k.seg.Origin, ErrNotFound)
		}
		var err error
		if to, notes, err = vg.COWExtents(to, vg.Size(origin), k.seg.ChunkSize, have+count(free.runs)); err != nil || to <= have {
			return notes, err
		}
	}
	return vg.lengthen(lv, to-have, free, notes)
}

// lengthen gives a volume that lies on physical volumes more extents, next to its
// end if there are some.
func (vg *VG) lengthen(lv *LV, need Extents, free *space, notes []string) ([]string, error) {
	free = vg.roomFor(lv, free)
	have, last := lv.Extents(), lv.Segments[len(lv.Segments)-1]
	if len(last.Stripes) > 1 {
		return vg.extendStriped(lv, last, need, free, notes)
	}
	if all := count(free.runs); all < need {
		return nil, noSpace(need, all)
	}
	var runs []Run
	if r, ok := free.after(last.Stripes[0].PV, last.Stripes[0].Start+last.Count, need); ok {
		runs, need = append(runs, r), need-r.Count
	}
	if need > 0 {
		more, err := free.linear(need)
		if err != nil {
			return nil, err
		}
		runs = append(runs, more...)
		if err := vg.contiguous(lv, 1+len(runs)); err != nil {
			return nil, err
		}
	}
	lv.grow(segments(have, runs))
	return notes, nil
}

// roomBehind is how many extents a volume, or the data of a pool, could be made longer
// by: with stripes not all that is free can be had.
func (vg *VG) roomBehind(lv *LV, pvs []string) Extents {
	if p := lv.ThinPool(); p != nil && vg.LV(p.Data) != nil {
		lv = vg.LV(p.Data)
	}
	free := vg.roomFor(lv, vg.space(pvs))
	stripes := 1
	if len(lv.Segments) > 0 {
		stripes = max(1, len(lv.Segments[len(lv.Segments)-1].Stripes))
	}
	all := count(free.runs)
	if stripes == 1 {
		return all
	}
	rows := sort.Search(int(all)/stripes, func(less int) bool { // the first that is too many, less one
		_, err := free.clone().striped(stripes, Extents(less)+1)
		return err != nil
	})
	return Extents(rows * stripes)
}

// extendStriped goes on with as many stripes, on any physical volumes.
func (vg *VG) extendStriped(lv *LV, last *Segment, need Extents, free *space, notes []string) ([]string, error) {
	stripes := Extents(len(last.Stripes))
	each := (need + stripes - 1) / stripes
	if each*stripes != need {
		notes = append(notes, fmt.Sprintf("rounding up %s to %s, whole rows of %d stripes",
			HumanSize(vg.Sectors(need)), HumanSize(vg.Sectors(each*stripes)), stripes))
	}
	next := free.clone()
	row, length := []Run(nil), each
	for _, a := range last.Stripes {
		r, ok := next.after(a.PV, a.Start+last.Count/stripes, each)
		if !ok || r.Count < length {
			row = nil
			break
		}
		row = append(row, r)
	}
	rows := [][]Run{row}
	if row == nil {
		var err error
		if rows, err = free.striped(int(stripes), each); err == nil {
			err = vg.contiguous(lv, 1+len(rows))
		}
		if err != nil {
			return nil, err
		}
	}
	lv.grow(stripedSegments(lv.Extents(), last.StripeSize, rows))
	return notes, nil
}

// grow appends segments; one that continues the last is joined with it, as lvm2
// does on its next reading.
func (lv *LV) grow(segs []*Segment) {
	for _, s := range segs {
		last := lv.Segments[len(lv.Segments)-1]
		if last.striped() && last.StripeSize == s.StripeSize && len(last.Stripes) == len(s.Stripes) && slices.EqualFunc(last.Stripes, s.Stripes, func(a, b Area) bool {
			return a.PV == b.PV && a.Start+last.Count/Extents(len(last.Stripes)) == b.Start
		}) {
			last.Count += s.Count
			continue
		}
		lv.Segments = append(slices.Clip(lv.Segments), s)
	}
}
