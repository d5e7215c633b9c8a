package main

import (
	"fmt"
	"slices"
	"strings"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// lvmRow is what one line of a report is about; what it is not about is nil.
type lvmRow struct {
	units lvmUnits
	group *lvmGroup
	lv    *lvm.LV
	state lvm.LVState
	seg   *lvm.Segment
	pv    *lvm.PV
	dev   *lvm.Volume // the device of pv
	run   *lvm.Run    // of extents on pv, in use or free

	past    *lvm.Historical // a volume that is gone
	history bool            // those are to be named
}

// lvmGroup is a group with what is looked up often.
type lvmGroup struct {
	*lvm.VG
	states   map[string]lvm.LVState // by volume
	attrs    map[string]string      // by volume
	byName   map[string]*lvm.LV
	byCOW    map[string]*lvm.Segment
	byOrigin map[string][]*lvm.Segment
	shown    map[string]bool
	helpers  map[string]bool
	thinOf   map[string][]string    // thin snapshots of a volume, or what reads from it, by name
	free     map[string]lvm.Extents // by physical volume
	allFree  lvm.Extents
	devs     []lvm.Volume
}

func newLVMGroup(vg *lvm.VG, pvs []lvm.Volume, states map[string]lvm.LVState) *lvmGroup {
	g := &lvmGroup{VG: vg, states: states, attrs: vg.Attrs(states), byName: map[string]*lvm.LV{}, byCOW: map[string]*lvm.Segment{}, byOrigin: map[string][]*lvm.Segment{}, shown: map[string]bool{},
		helpers: map[string]bool{}, thinOf: map[string][]string{}, free: map[string]lvm.Extents{}}
	for _, lv := range vg.LVs {
		g.byName[lv.Name] = lv
		for _, s := range lv.Segments {
			if s.COW != "" {
				g.byCOW[s.COW], g.helpers[lv.Name] = s, true
				g.byOrigin[s.Origin] = append(g.byOrigin[s.Origin], s)
			}
		}
		if t := lv.Thin(); t != nil {
			if of := thinOrigin(t); of != "" {
				g.thinOf[of] = append(g.thinOf[of], lv.Name)
			}
		}
	}
	for _, lv := range vg.ShownLVs() {
		g.shown[lv.Name] = true
	}
	for _, r := range vg.FreeRuns() {
		g.free[r.PV] += r.Count
		g.allFree += r.Count
	}
	for _, d := range pvs {
		if vg.PVByID(d.ID) != nil {
			g.devs = append(g.devs, d)
		}
	}
	return g
}

// LV is [lvm.VG.LV] without a search.
func (g *lvmGroup) LV(name string) *lvm.LV { return g.byName[name] }

// origin is the name of what a volume is a snapshot of.
func (g *lvmGroup) origin(lv *lvm.LV) string {
	if s := g.byCOW[lv.Name]; s != nil {
		return s.Origin
	}
	if t := lv.Thin(); t != nil {
		return thinOrigin(t)
	}
	return ""
}

func (g *lvmGroup) merging(origin string) bool {
	return slices.ContainsFunc(g.byOrigin[origin], func(s *lvm.Segment) bool { return s.Merging })
}

func (g *lvmGroup) partial() bool {
	return slices.ContainsFunc(g.PVs, func(pv *lvm.PV) bool { return pv.Missing() })
}

// The kinds of columns.

func lvmText(need lvmNeed, name, title string, width int, f func(*lvmRow) string) lvmColumn {
	return lvmColumn{name, title, false, width, need, func(r *lvmRow) lvmCell { return lvmCell{text: f(r)} }}
}

func lvmCount(need lvmNeed, name, title string, width int, f func(*lvmRow) int64) lvmColumn {
	return lvmColumn{name, title, true, width, need, func(r *lvmRow) lvmCell {
		n := f(r)
		return lvmCell{text: fmt.Sprint(n), number: float64(n), isNum: true}
	}}
}

func lvmLength(need lvmNeed, name, title string, f func(*lvmRow) uint64) lvmColumn {
	return lvmColumn{name, title, true, 0, need, func(r *lvmRow) lvmCell {
		n := f(r)
		return lvmCell{text: r.units.String(n), number: float64(n), isNum: true}
	}}
}

// lvmWide is a lvmLength of at least a width.
func lvmWide(width int, need lvmNeed, name, title string, f func(*lvmRow) uint64) lvmColumn {
	c := lvmLength(need, name, title, f)
	c.width = width
	return c
}

// lvmFlag shows a word where something is so.
func lvmFlag(need lvmNeed, name, title, word string, width int, f func(*lvmRow) bool) lvmColumn {
	return lvmColumn{name, title, true, width, need, func(r *lvmRow) lvmCell {
		if f(r) {
			return lvmCell{text: word}
		}
		return lvmCell{}
	}}
}

// lvmLive is lvmFlag of what the engine knows.
func lvmLive(name, title, word string, width int, f func(*lvmRow) bool) lvmColumn {
	return lvmColumn{name, title, true, width, lvmOfLV, func(r *lvmRow) lvmCell {
		switch {
		case !r.state.Known:
			return lvmCell{text: "unknown"}
		case f(r):
			return lvmCell{text: word}
		}
		return lvmCell{}
	}}
}

func lvmTags(need lvmNeed, name, title string, f func(*lvmRow) []string) lvmColumn {
	return lvmColumn{name, title, false, 0, need, func(r *lvmRow) lvmCell {
		tags := f(r)
		return lvmCell{text: strings.Join(tags, ","), list: tags}
	}}
}

func lvmPart(name, title string, width int, f func(*lvmRow) (float64, bool)) lvmColumn {
	return lvmColumn{name, title, true, width, lvmOfLV, func(r *lvmRow) lvmCell {
		p, ok := f(r)
		if !ok {
			return lvmCell{number: -1, isNum: true}
		}
		return lvmCell{text: lvmPercent(p), number: p, isNum: true}
	}}
}

func bytesOf(s dmcore.Sectors) uint64 { return uint64(s.Bytes()) }

// lvmMaybe is a lvmCount of what not everything has.
func lvmMaybe(need lvmNeed, name, title string, f func(*lvmRow) (int64, bool)) lvmColumn {
	return lvmColumn{name, title, true, 0, need, func(r *lvmRow) lvmCell {
		n, ok := f(r)
		if !ok {
			return lvmCell{number: -1, isNum: true}
		}
		return lvmCell{text: fmt.Sprint(n), number: float64(n), isNum: true}
	}}
}

// lvmWhere has columns show nothing of rows that are not about their thing.
func lvmWhere(columns []lvmColumn, is func(*lvmRow) bool) []lvmColumn {
	for i, c := range columns {
		columns[i].show = func(r *lvmRow) lvmCell {
			if !is(r) {
				return lvmCell{}
			}
			return c.show(r)
		}
	}
	return columns
}
