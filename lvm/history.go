package lvm

import (
	"context"
	"math"
	"slices"
	"strings"
	"time"

	"cowhand/lvm/lvmtext"
)

// Historical is what a group remembers of a thin volume that is gone, as long as
// something that came from it is there (lvm2 2.03.16, lib/metadata/pool_manip.c,
// detach_pool_lv; lib/format_text/import_vsn1.c). What it refers to has to be there, or
// lvm2 does not read the group: it is kept true also where nothing is recorded.
type Historical struct {
	Name         string
	ID           ID
	CreationTime time.Time
	RemovalTime  time.Time
	Origin       string   // what it was a snapshot of: a volume, or one that is gone, with the prefix "-"
	Descendants  []string // volumes that were made from it, by name

	was string // its section
}

// HistoryPrefix marks the name of a volume that is gone where those that are there may
// be named, too: no volume's name can begin with it.
const HistoryPrefix = "-"

// Past returns what is remembered of a volume, given without prefix; nil if nothing is.
func (vg *VG) Past(name string) *Historical {
	for _, h := range vg.Historical {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// PastOrigin is the volume that is gone which a live one came from, "" if there is none.
func (vg *VG) PastOrigin(name string) string {
	for _, h := range vg.Historical {
		if slices.Contains(h.Descendants, name) {
			return HistoryPrefix + h.Name
		}
	}
	return ""
}

// PastDescendants lists, in lvm2's order, what came from a volume by way of those that
// are gone: of one that is gone itself, given with the prefix, volumes too.
func (vg *VG) PastDescendants(name string) (list []string) {
	for _, h := range vg.Historical {
		if h.Origin == name {
			list = append(list, HistoryPrefix+h.Name)
		}
		if HistoryPrefix+h.Name == name {
			list = append(list, h.Descendants...)
		}
	}
	return list
}

// record notes of thin volumes that are about to be dropped what came from them, or
// forgets that they did.
func (vg *VG) record(names []string) {
	done := map[string]bool{}
	for _, name := range names {
		lv := vg.LV(name)
		if lv == nil || lv.Thin() == nil {
			continue
		}
		origin := lv.Thin().Origin
		done[name] = true
		switch {
		case done[origin] && vg.Past(origin) != nil: // it goes with this one, and went before it
			origin = HistoryPrefix + origin
		case done[origin]:
			origin = ""
		}
		past := vg.PastOrigin(name)
		var snapshots []string
		used := len(vg.links().thin.external[name]) > 0
		for _, other := range vg.LVs {
			if t := other.Thin(); t != nil && t.Origin == name && !done[other.Name] {
				snapshots = append(snapshots, other.Name)
			}
		}
		for _, h := range vg.Historical {
			h.Descendants = slices.DeleteFunc(slices.Clone(h.Descendants), func(d string) bool { return d == name })
			if h.Origin == name {
				used = true
			}
		}
		if !vg.settings.RecordHistory || origin == "" && past == "" && len(snapshots) == 0 && !used {
			for _, h := range vg.Historical {
				if h.Origin == name {
					h.Origin = ""
				}
			}
			continue
		}
		h := &Historical{Name: name, ID: lv.ID, CreationTime: lv.CreationTime, Origin: origin, Descendants: snapshots}
		if origin == "" {
			h.Origin = past
		}
		for _, other := range vg.Historical {
			if other.Origin == name {
				other.Origin = HistoryPrefix + name
			}
		}
		vg.Historical = append(slices.Clip(vg.Historical), h)
	}
}

// pruneHistory forgets what nothing that is there came from.
func (vg *VG) pruneHistory() {
	alive := map[string]bool{}
	var check func(name string, deep int) bool
	check = func(name string, deep int) bool {
		h := vg.Past(name)
		if h == nil || deep > len(vg.Historical) {
			return false
		}
		if len(h.Descendants) > 0 {
			return true
		}
		return slices.ContainsFunc(vg.Historical, func(o *Historical) bool {
			return o.Origin == HistoryPrefix+name && check(o.Name, deep+1)
		})
	}
	for _, h := range vg.Historical {
		alive[h.Name] = check(h.Name, 0)
	}
	for _, h := range slices.Clone(vg.Historical) {
		if !alive[h.Name] {
			vg.forgetPast(h.Name)
		}
	}
}

// forgetPast drops what is remembered of a volume. If history is recorded, what came
// from it comes from its origin then, as far as that can be said: of two volumes that
// are both there it cannot (lib/metadata/lv_manip.c, historical_glv_remove).
func (vg *VG) forgetPast(name string) {
	gone := vg.Past(name)
	origin := gone.Origin
	if !vg.settings.RecordHistory {
		origin = ""
	}
	above := vg.Past(strings.TrimPrefix(origin, HistoryPrefix))
	if !strings.HasPrefix(origin, HistoryPrefix) {
		above = nil
	}
	for _, h := range vg.Historical {
		if h.Origin == HistoryPrefix+name {
			h.Origin = origin
		}
	}
	if above != nil {
		above.Descendants = append(slices.Clip(above.Descendants), gone.Descendants...)
	}
	vg.Historical = slices.DeleteFunc(slices.Clone(vg.Historical), func(h *Historical) bool { return h == gone })
}

// ForgetPast is for who does not want to know any more.
func (vg *VG) ForgetPast(name string) error {
	if vg.Past(name) == nil {
		return vg.fail(HistoryPrefix+name, "remove", ErrNotFound)
	}
	vg.forgetPast(name)
	vg.pruneHistory()
	return nil
}

// renamePast tells what is remembered of a volume's new name.
func (vg *VG) renamePast(name, to string) {
	for _, h := range vg.Historical {
		if h.Origin == name {
			h.Origin = to
		}
		for i, d := range h.Descendants {
			if d == name {
				h.Descendants = slices.Clone(h.Descendants)
				h.Descendants[i] = to
			}
		}
	}
}

// stampHistory notes when volumes went, of those of whom it is not known.
func (vg *VG) stampHistory(now time.Time) {
	for i, h := range vg.Historical {
		if h.RemovalTime.IsZero() {
			c := *h
			c.RemovalTime = now.UTC().Truncate(time.Second)
			vg.Historical[i] = &c
		}
	}
}

func cloneHistory(list []*Historical) []*Historical {
	c := make([]*Historical, len(list))
	for i, h := range list {
		one := *h
		one.Descendants = slices.Clone(h.Descendants)
		c[i] = &one
	}
	return c
}

func (r *reader) historical(s *lvmtext.Section) *Historical {
	r.in(s, "historical volume "+s.Name())
	h := &Historical{Name: s.Name(), ID: r.id(), Origin: r.text("origin", false), Descendants: r.words("descendants", false), was: s.Name()}
	if name := r.text("name", false); name != "" {
		h.Name = name
	}
	for key, t := range map[string]*time.Time{"creation_time": &h.CreationTime, "removal_time": &h.RemovalTime} {
		if n := r.number(key, math.MaxInt64, false); n != 0 {
			*t = time.Unix(int64(n), 0).UTC()
		}
	}
	return h
}

// printHistory prints behind the volumes, as lvm2 does (lib/format_text/export.c).
func (vg *VG) printHistory(s *lvmtext.Section) {
	const name = "historical_logical_volumes"
	if len(vg.Historical) == 0 {
		s.Delete(name)
		return
	}
	all := s.Add(name)
	keep(all, len(vg.Historical), func(i int) (name, was string) { return vg.Historical[i].Name, vg.Historical[i].was })
	for _, h := range vg.Historical {
		one := all.Add(h.Name)
		setID(one, h.ID)
		for _, t := range []struct {
			key string
			at  time.Time
		}{{"creation_time", h.CreationTime}, {"removal_time", h.RemovalTime}} {
			if !t.at.IsZero() {
				setNumber(one, t.key, uint64(t.at.Unix()), true)
			}
		}
		setText(one, "origin", h.Origin)
		if v, ok := one.Get("descendants"); len(h.Descendants) == 0 {
			one.Delete("descendants")
		} else if now, _ := v.Strings(); !ok || !slices.Equal(now, h.Descendants) {
			one.Set("descendants", lvmtext.Strings(h.Descendants))
		}
	}
}

// mergePast has what came from a snapshot come from the origin whose place it took,
// and forgets that they came from one another.
func (vg *VG) mergePast(snap, origin string) {
	for _, h := range vg.Historical {
		if h.Origin == snap {
			h.Origin = origin
		}
		h.Descendants = slices.DeleteFunc(slices.Clone(h.Descendants), func(d string) bool { return d == snap })
	}
	vg.pruneHistory()
}

// ForgetPast is [VG.ForgetPast].
func (e *Engine) ForgetPast(ctx context.Context, vg, name string) error {
	return e.change(ctx, []string{vg}, func(groups map[string]*VG) (edit, error) {
		return edit{}, groups[vg].ForgetPast(name)
	})
}

// history checks that what is remembered refers to what is there, or remembered:
// lvm2 does not read a group otherwise.
func (v *validator) history() {
	known := map[string]bool{}
	for _, h := range v.vg.Historical {
		v.id(h.ID, "historical volume "+h.Name)
		known[h.Name] = true
	}
	for _, h := range v.vg.Historical {
		if past, ok := strings.CutPrefix(h.Origin, HistoryPrefix); h.Origin != "" && (ok && !known[past] || !ok && v.lvs[h.Origin] == nil) {
			v.bad("historical volume %s: its origin %s is not there", h.Name, h.Origin)
		}
		for _, d := range h.Descendants {
			if v.lvs[d] == nil {
				v.bad("historical volume %s: %s, which came from it, is not there", h.Name, d)
			}
		}
	}
}
