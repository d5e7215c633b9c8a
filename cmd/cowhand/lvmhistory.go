package main

import (
	"context"
	"slices"
	"strings"

	"cowhand/lvm"
)

// splitPast is the name of a volume that is gone: "vg/-lv".
func splitPast(word string) (vg, name string, ok bool) {
	vg, name, ok = strings.Cut(strings.TrimPrefix(strings.TrimPrefix(word, lvmDevDir()+"/"), "/dev/"), "/"+lvm.HistoryPrefix)
	return vg, name, ok && vg != "" && name != "" && !strings.Contains(vg+name, "/")
}

// pastRows are rows of volumes that are gone, all of a group if name is empty.
func (r *lvmRun) pastRows(g *lvmGroup, name string, need lvmNeed) (rows []*lvmRow) {
	if !r.args.has("history") || need&lvmOfSegment != 0 {
		return nil
	}
	for _, h := range g.Historical {
		if name == "" || h.Name == name {
			rows = append(rows, &lvmRow{group: g, past: h, history: true})
		}
	}
	return rows
}

// name is the row's, as those of volumes that came from it know it.
func (r *lvmRow) name() string {
	if r.past != nil {
		return lvm.HistoryPrefix + r.past.Name
	}
	return r.lv.Name
}

// cameFrom is what a volume came from, directly or, of what is gone, as it is
// remembered (lvm2 2.03.16, lib/report/report.c, _find_ancestors).
func (g *lvmGroup) cameFrom(name string, full bool) string {
	if past, ok := strings.CutPrefix(name, lvm.HistoryPrefix); ok {
		if h := g.Past(past); h != nil && full {
			return h.Origin
		}
		return ""
	}
	lv := g.LV(name)
	if lv == nil {
		return ""
	}
	if origin := g.origin(lv); origin != "" || !full {
		return origin
	}
	return g.PastOrigin(name)
}

// cameOf is what came from a volume (_find_descendants).
func (g *lvmGroup) cameOf(name string, full bool) (names []string) {
	if !strings.HasPrefix(name, lvm.HistoryPrefix) {
		for _, s := range g.byOrigin[name] {
			names = append(names, s.COW)
		}
		names = append(names, g.thinOf[name]...)
	}
	if full {
		names = append(names, g.PastDescendants(name)...)
	}
	return names
}

// ancestors are a volume's origin, that one's, and so on; full goes on where some are
// gone, and names these if history is asked for.
func ancestors(full bool) func(*lvmRow) string {
	return func(r *lvmRow) string {
		var names []string
		steps := 0
		for name := r.group.cameFrom(r.name(), full); name != ""; name = r.group.cameFrom(name, full) {
			names = append(names, name)
			if steps++; steps > r.group.most() { // they go in circles
				break
			}
		}
		return strings.Join(r.told(names), ",")
	}
}

// descendants are what came from a volume, from these, and so on.
func descendants(full bool) func(*lvmRow) string {
	return func(r *lvmRow) string {
		var names []string
		var visit func(name string)
		visit = func(name string) {
			if len(names) > r.group.most() { // they go in circles
				return
			}
			for _, n := range r.group.cameOf(name, full) {
				names = append(names, n)
				visit(n)
			}
		}
		visit(r.name())
		return strings.Join(r.told(names), ",")
	}
}

func (g *lvmGroup) most() int { return len(g.LVs) + len(g.Historical) }

// told leaves out what is gone, unless history is asked for.
func (r *lvmRow) told(names []string) []string {
	return slices.DeleteFunc(names, func(n string) bool { return !r.history && strings.HasPrefix(n, lvm.HistoryPrefix) })
}

// lvmPastColumns are the fields that tell something of a volume that is gone.
func lvmPastColumns() map[string]func(*lvmRow) string {
	return map[string]func(*lvmRow) string{
		"lv_name":             (*lvmRow).name,
		"lv_full_name":        func(r *lvmRow) string { return r.group.Name + "/" + r.name() },
		"lv_uuid":             func(r *lvmRow) string { return r.past.ID.Dashed() },
		"lv_historical":       func(*lvmRow) string { return "historical" },
		"lv_full_ancestors":   ancestors(true),
		"lv_full_descendants": descendants(true),
	}
}

// forgetPast is "lvremove vg/-lv": a volume that is gone is not remembered any more.
func (r *lvmRun) forgetPast(ctx context.Context, e *lvm.Engine, vg, name string) error {
	if err := e.ForgetPast(ctx, vg, name); err != nil {
		return err
	}
	r.say("Historical logical volume %q successfully removed.", name)
	return nil
}
