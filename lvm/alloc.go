package lvm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cowhand/dmcore"
)

// Run is a run of extents on one physical volume.
type Run struct {
	PV           string
	Start, Count Extents
}

func (r Run) end() Extents { return r.Start + r.Count }

// TotalExtents is the size of the group.
func (vg *VG) TotalExtents() Extents {
	var n Extents
	for _, pv := range vg.PVs {
		n += pv.PECount
	}
	return n
}

// FreeExtents counts the extents no volume uses, on all physical volumes, as
// vgs does. Some may not be allocatable; see [VG.AllocatableExtents].
func (vg *VG) FreeExtents() Extents { return count(vg.FreeRuns()) }

// AllocatableExtents counts the extents that can be given to a volume.
func (vg *VG) AllocatableExtents() Extents { return vg.allocatable(nil) }

func (vg *VG) allocatable(pvs []string) Extents { return count(vg.space(pvs).runs) }

func count(runs []Run) Extents {
	var n Extents
	for _, r := range runs {
		n += r.Count
	}
	return n
}

// UsedRuns lists what volumes occupy, in order of physical volume and start.
// Runs overlap where segments do. Areas of unknown segment types count in full.
func (vg *VG) UsedRuns() []Run { return vg.runs(func(*Segment) bool { return true }) }

// knownRuns lists only what volumes are known to occupy.
func (vg *VG) knownRuns() []Run { return vg.runs((*Segment).striped) }

func (vg *VG) runs(of func(*Segment) bool) []Run {
	index := make(map[string]int, len(vg.PVs))
	for i, pv := range vg.PVs {
		index[pv.Name] = i
	}
	var used []Run
	for _, lv := range vg.LVs {
		for _, s := range lv.Segments {
			if !of(s) {
				continue
			}
			for _, r := range s.occupies() {
				if _, ok := index[r.PV]; ok {
					used = append(used, r)
				}
			}
		}
	}
	slices.SortFunc(used, func(a, b Run) int {
		return cmp.Or(cmp.Compare(index[a.PV], index[b.PV]), cmp.Compare(a.Start, b.Start), cmp.Compare(a.Count, b.Count))
	})
	return used
}

// occupies lists the areas of a segment; those in hidden volumes too.
func (s *Segment) occupies() []Run {
	areas, each := s.refs, s.Count
	if s.striped() {
		areas, each = s.Stripes, s.Count/max(1, Extents(len(s.Stripes)))
	}
	runs := make([]Run, len(areas))
	for i, a := range areas {
		runs[i] = Run{a.PV, a.Start, each}
	}
	return runs
}

// FreeRuns lists what no volume occupies, in order of physical volume and start.
func (vg *VG) FreeRuns() []Run {
	used := vg.UsedRuns()
	var free []Run
	for _, pv := range vg.PVs {
		var at Extents
		for len(used) > 0 && used[0].PV == pv.Name {
			if u := used[0]; u.Start > at && at < pv.PECount {
				free = append(free, Run{pv.Name, at, min(u.Start, pv.PECount) - at})
			}
			at = max(at, used[0].end())
			used = used[1:]
		}
		if at < pv.PECount {
			free = append(free, Run{pv.Name, at, pv.PECount - at})
		}
	}
	return free
}

// space is what can still be allocated: runs in order of physical volume and
// start. Taking from it is deterministic.
type space struct{ runs []Run }

// space returns the free extents of the named physical volumes, or of ranges of
// them ([PV.Place]), of all if none are named, that are allocatable.
func (vg *VG) space(pvs []string) *space {
	s := &space{}
	use := map[string]bool{}
	for _, pv := range vg.PVs {
		use[pv.Name] = pv.Allocatable()
	}
	for _, r := range vg.FreeRuns() {
		if use[r.PV] {
			s.runs = append(s.runs, r)
		}
	}
	s.runs = within(s.runs, pvs)
	return s
}

// checkPVs reports names that are no physical volumes of the group, or none to
// allocate from.
func (vg *VG) checkPVs(pvs []string) error {
	for _, place := range pvs {
		name, _, _ := strings.Cut(place, ":")
		switch pv := vg.PV(name); {
		case pv == nil:
			return fmt.Errorf("physical volume %s: %w", name, ErrNotFound)
		case pv.Missing():
			return fmt.Errorf("physical volume %s: %w", name, ErrMissingPV)
		case !pv.Allocatable():
			return fmt.Errorf("physical volume %s is not allocatable: %w", name, ErrInvalid)
		}
	}
	return nil
}

func (s *space) clone() *space { return &space{slices.Clone(s.runs)} }

// cut takes the first n extents of a run.
func (s *space) cut(i int, n Extents) Run {
	r := s.runs[i]
	taken := Run{r.PV, r.Start, n}
	if s.runs[i] = (Run{r.PV, r.Start + n, r.Count - n}); n == r.Count {
		s.runs = slices.Delete(s.runs, i, i+1)
	}
	return taken
}

// after takes up to n extents that begin at that place.
func (s *space) after(pv string, start, n Extents) (Run, bool) {
	for i, r := range s.runs {
		if r.PV == pv && r.Start == start {
			return s.cut(i, min(n, r.Count)), true
		}
	}
	return Run{}, false
}

// linear takes n extents: a run that holds them all, on the first physical volume
// that has one the smallest, as lvm2 does, or, if there is none, the largest runs, so
// that a volume has few pieces.
func (s *space) linear(n Extents) ([]Run, error) {
	if free := count(s.runs); free < n {
		return nil, noSpace(n, free)
	}
	fits := -1
	for i, r := range s.runs {
		if r.Count >= n && (fits < 0 || r.PV == s.runs[fits].PV && r.Count < s.runs[fits].Count) {
			fits = i
		}
	}
	if fits >= 0 {
		return []Run{s.cut(fits, n)}, nil
	}
	var taken []Run
	for n > 0 {
		i := s.largest(n, func(Run) bool { return true })
		r := s.cut(i, min(n, s.runs[i].Count))
		taken, n = append(taken, r), n-r.Count
	}
	return taken, nil
}

// largest is the first of the largest runs that ok admits, -1 if there is none. What
// is larger than need be is not better for that (lvm2 2.03.16,
// lib/metadata/lv_manip.c, _calc_required_extents and _comp_area).
func (s *space) largest(need Extents, ok func(Run) bool) int {
	best := -1
	for i, r := range s.runs {
		if ok(r) && (best < 0 || min(r.Count, need) > min(s.runs[best].Count, need)) {
			best = i
		}
	}
	return best
}

// striped takes each extents on each of stripes physical volumes. A row of the
// result is one segment: runs of equal length, each on another volume.
func (s *space) striped(stripes int, each Extents) ([][]Run, error) {
	var rows [][]Run
	for each > 0 {
		var picked []Run
		used := map[string]bool{}
		for range stripes {
			i := s.largest(each, func(r Run) bool { return !used[r.PV] })
			if i < 0 {
				return nil, fmt.Errorf("not enough free extents (need %d on each of %d physical volumes, have them on %d): %w",
					each, stripes, len(picked), ErrNoSpace)
			}
			used[s.runs[i].PV] = true
			picked = append(picked, s.runs[i])
		}
		n := min(each, picked[len(picked)-1].Count)
		row := make([]Run, stripes)
		for i, p := range picked {
			row[i], _ = s.after(p.PV, p.Start, n)
		}
		rows, each = append(rows, row), each-n
	}
	return rows, nil
}

func noSpace(need, have Extents) error {
	return fmt.Errorf("not enough free extents (need %d, have %d): %w", need, have, ErrNoSpace)
}

// segments makes linear segments of runs, the first at extent start.
func segments(start Extents, runs []Run) []*Segment {
	var segs []*Segment
	for _, r := range runs {
		segs = append(segs, &Segment{Start: start, Count: r.Count, Type: typeStriped, Stripes: []Area{{r.PV, r.Start}}})
		start += r.Count
	}
	return segs
}

// stripedSegments makes a striped segment of each row.
func stripedSegments(start Extents, size dmcore.Sectors, rows [][]Run) []*Segment {
	var segs []*Segment
	for _, row := range rows {
		s := &Segment{Start: start, Count: row[0].Count * Extents(len(row)), Type: typeStriped, StripeSize: size}
		for _, r := range row {
			s.Stripes = append(s.Stripes, Area{r.PV, r.Start})
		}
		segs = append(segs, s)
		start += s.Count
	}
	return segs
}

// on returns a copy of the runs on the named physical volumes, on all if none
// are named.
func (s *space) on(pvs []string) *space {
	c := s.clone()
	c.runs = within(c.runs, pvs)
	return c
}

// remove takes runs that were taken from a copy.
func (s *space) remove(taken []Run) {
	for _, t := range taken {
		for i, r := range s.runs {
			if r.PV == t.PV && r.Start <= t.Start && t.end() <= r.end() {
				before, after := Run{r.PV, r.Start, t.Start - r.Start}, Run{r.PV, t.end(), r.end() - t.end()}
				var left []Run
				for _, p := range []Run{before, after} {
					if p.Count > 0 {
						left = append(left, p)
					}
				}
				s.runs = slices.Replace(s.runs, i, i+1, left...)
				break
			}
		}
	}
}
