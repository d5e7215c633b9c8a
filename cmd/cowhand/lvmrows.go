package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cowhand/lvm"
)

// rows finds what the words of the command line name, as rows of a report.
// What is not found does not keep the rest from being shown.
func (r *lvmRun) rows(look *lvmLook, report lvmReport, need lvmNeed) (rows []*lvmRow, missing, err error) {
	switch report.name {
	case "pv":
		if need&(lvmOfLV|lvmOfSegment) != 0 {
			need |= lvmOfPVSegment
		}
		return r.pvRows(look, need)
	case "vg":
		switch {
		case need&lvmOfPV != 0 && need&(lvmOfLV|lvmOfSegment) != 0, need&lvmOfPVSegment != 0:
			return nil, nil, usagef("cannot report fields of physical and of logical volumes at the same time")
		case need&lvmOfPV != 0:
			return r.vgRows(look, func(g *lvmGroup) []*lvmRow { return groupPVs(g, look.pvs) })
		case need&(lvmOfLV|lvmOfSegment) != 0:
			return r.vgRows(look, func(g *lvmGroup) []*lvmRow { return r.groupLVs(g, g.LVs, need) })
		}
		return r.vgRows(look, func(g *lvmGroup) []*lvmRow { return []*lvmRow{{group: g}} })
	}
	if need&(lvmOfPV|lvmOfPVSegment) != 0 {
		return nil, nil, usagef("cannot report fields of physical and of logical volumes at the same time")
	}
	return r.lvRows(look, need)
}

func (r *lvmRun) vgRows(look *lvmLook, of func(*lvmGroup) []*lvmRow) (rows []*lvmRow, missing, err error) {
	var errs []error
	seen := map[string]bool{}
	take := func(g *lvmGroup) {
		if seen[g.Name] {
			return
		}
		seen[g.Name] = true
		some := of(g)
		if len(some) == 0 {
			some = []*lvmRow{{group: g}}
		}
		rows = append(rows, some...)
	}
	if len(r.args.words) == 0 {
		for _, g := range look.groups {
			take(g)
		}
	}
	for _, w := range r.args.words {
		if tag, ok := strings.CutPrefix(w, "@"); ok {
			for _, g := range look.groups {
				if hasTag(g.Tags, tag) {
					take(g)
				}
			}
			continue
		}
		name, err := lvmGroupName(w)
		if err != nil {
			return nil, nil, err
		}
		g, err := look.group(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		take(g)
	}
	return rows, errors.Join(errs...), nil
}

func groupPVs(g *lvmGroup, pvs []lvm.Volume) []*lvmRow {
	var rows []*lvmRow
	for _, pv := range g.PVs {
		rows = append(rows, &lvmRow{group: g, pv: pv, dev: deviceOf(pv, pvs)})
	}
	return rows
}

func deviceOf(pv *lvm.PV, pvs []lvm.Volume) *lvm.Volume {
	for i := range pvs {
		if pvs[i].ID == pv.ID && pvs[i].Path == pv.Device {
			return &pvs[i]
		}
	}
	return nil
}

// groupLVs are rows of volumes, or of their segments; of hidden volumes only
// with -a, of the helpers of snapshots never.
func (r *lvmRun) groupLVs(g *lvmGroup, lvs []*lvm.LV, need lvmNeed) []*lvmRow {
	var rows []*lvmRow
	for _, lv := range lvs {
		if g.helpers[lv.Name] || !g.shown[lv.Name] && !r.args.has("all") {
			continue
		}
		row := &lvmRow{group: g, lv: lv, state: g.states[lv.Name], history: r.args.has("history")}
		if need&lvmOfSegment == 0 {
			rows = append(rows, row)
			continue
		}
		for _, s := range lv.Segments {
			of := *row
			of.seg = s
			rows = append(rows, &of)
		}
	}
	return rows
}

func (r *lvmRun) lvRows(look *lvmLook, need lvmNeed) (rows []*lvmRow, missing, err error) {
	var errs []error
	seen := map[*lvm.LV]bool{}
	take := func(g *lvmGroup, lvs ...*lvm.LV) {
		for _, lv := range lvs {
			if !seen[lv] {
				seen[lv] = true
				rows = append(rows, r.groupLVs(g, []*lvm.LV{lv}, need)...)
			}
		}
	}
	if len(r.args.words) == 0 {
		for _, g := range look.groups {
			take(g, g.LVs...)
			rows = append(rows, r.pastRows(g, "", need)...)
		}
	}
	for _, w := range r.args.words {
		if vg, name, ok := splitPast(w); ok {
			g, err := look.group(vg)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			past := r.pastRows(g, name, need)
			if len(past) == 0 {
				errs = append(errs, &lvm.Error{VG: vg, LV: lvm.HistoryPrefix + name, Err: lvm.ErrNotFound})
			}
			rows = append(rows, past...)
			continue
		}
		if tag, ok := strings.CutPrefix(w, "@"); ok {
			for _, g := range look.groups {
				for _, lv := range g.LVs {
					if lv.HasTag(tag) || hasTag(g.Tags, tag) {
						take(g, lv)
					}
				}
			}
			continue
		}
		vg, name, err := splitName(strings.TrimRight(w, "/"))
		if err != nil {
			return nil, nil, err
		}
		g, err := look.group(vg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if name == "" {
			take(g, g.LVs...)
			rows = append(rows, r.pastRows(g, "", need)...)
			continue
		}
		lv := g.LV(name)
		if lv == nil || g.helpers[name] {
			errs = append(errs, &lvm.Error{VG: vg, LV: name, Err: lvm.ErrNotFound})
			continue
		}
		hidden := !g.shown[name] // asked for by name, it is shown
		take(g, lv)
		if hidden && !r.args.has("all") {
			g.shown[name] = true
			rows = append(rows, r.groupLVs(g, []*lvm.LV{lv}, need)...)
			g.shown[name] = false
		}
	}
	return rows, errors.Join(errs...), nil
}

func (r *lvmRun) pvRows(look *lvmLook, need lvmNeed) (rows []*lvmRow, missing, err error) {
	var all []*lvmRow
	for _, g := range look.groups {
		all = append(all, groupPVs(g, look.pvs)...)
	}
	for i, d := range look.pvs {
		if !slices.ContainsFunc(all, func(r *lvmRow) bool { return r.pv.ID == d.ID }) {
			all = append(all, &lvmRow{pv: &lvm.PV{ID: d.ID, Device: d.Path, PEStart: d.Start}, dev: &look.pvs[i]})
		}
	}
	if len(r.args.words) > 0 {
		var errs []error
		var some []*lvmRow
		for _, w := range r.args.words {
			if tag, ok := strings.CutPrefix(w, "@"); ok {
				for _, row := range all {
					if hasTag(row.pv.Tags, tag) || row.group != nil && hasTag(row.group.Tags, tag) {
						some = append(some, row)
					}
				}
				continue
			}
			path, err := r.listed(w)
			if err != nil {
				return nil, nil, err
			}
			i := slices.IndexFunc(all, func(row *lvmRow) bool { return row.dev != nil && row.dev.Path == path })
			if i < 0 {
				errs = append(errs, fmt.Errorf("%s: physical volume: %w", w, lvm.ErrNotFound))
				continue
			}
			some = append(some, all[i])
		}
		all, missing = some, errors.Join(errs...)
	}
	if need&lvmOfPVSegment == 0 {
		return all, missing, nil
	}
	for _, row := range all {
		rows = append(rows, pvRuns(row)...)
	}
	return rows, missing, nil
}

// pvRuns are the runs of extents on a physical volume, in use and free.
func pvRuns(row *lvmRow) []*lvmRow {
	if row.group == nil {
		return []*lvmRow{row}
	}
	var rows []*lvmRow
	g := row.group
	for _, lv := range g.LVs {
		for _, s := range lv.Segments {
			for _, a := range s.Stripes {
				if a.PV == row.pv.Name {
					of := *row
					of.lv, of.seg, of.state = lv, s, g.states[lv.Name]
					of.run = &lvm.Run{PV: a.PV, Start: a.Start, Count: s.Count / lvm.Extents(len(s.Stripes))}
					rows = append(rows, &of)
				}
			}
		}
	}
	for _, f := range g.FreeRuns() {
		if f.PV == row.pv.Name {
			of := *row
			of.run, of.seg = &f, &lvm.Segment{Type: "free", Count: f.Count}
			rows = append(rows, &of)
		}
	}
	slices.SortStableFunc(rows, func(a, b *lvmRow) int { return cmp.Compare(a.run.Start, b.run.Start) })
	return rows
}
