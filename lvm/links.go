package lvm

import "slices"

// link is what ties a snapshot to its origin.
type link struct {
	helper *LV
	seg    *Segment // COW, Origin, ChunkSize, Merging
}

// links are the snapshots of a group, found in one pass over it.
type links struct {
	all      []link // in order of the helpers
	byCOW    map[string]link
	byOrigin map[string][]link
	helpers  map[string]bool
	thin     thinLinks
}

func (vg *VG) links() *links {
	l := &links{byCOW: map[string]link{}, byOrigin: map[string][]link{}, helpers: map[string]bool{}}
	for _, lv := range vg.LVs {
		l.thin.add(lv)
		for _, s := range lv.Segments {
			if s.Type == typeSnapshot {
				k := link{lv, s}
				l.all = append(l.all, k)
				l.byCOW[s.COW] = k
				l.byOrigin[s.Origin] = append(l.byOrigin[s.Origin], k)
				l.helpers[lv.Name] = true
			}
		}
	}
	return l
}

// shown reports a volume that lvs lists: lvm2 hides helpers and merging
// snapshots, and shows COW volumes (lib/metadata/snapshot_manip.c,
// lv_is_visible).
func (l *links) shown(lv *LV) bool {
	if l.helpers[lv.Name] {
		return false
	}
	if k, ok := l.byCOW[lv.Name]; ok {
		return !k.seg.Merging
	}
	return lv.Visible()
}

// merging is the snapshot that is being merged into the origin.
func (l *links) merging(origin string) (link, bool) {
	for _, k := range l.byOrigin[origin] {
		if k.seg.Merging {
			return k, true
		}
	}
	return link{}, false
}

// Shown reports whether people see the volume: plain volumes, origins and
// snapshots, but no snapshot that is being merged and no hidden volume.
func (vg *VG) Shown(lv *LV) bool { return vg.links().shown(lv) }

// ShownLVs lists the volumes that people see, in order.
func (vg *VG) ShownLVs() []*LV {
	l := vg.links()
	var shown []*LV
	for _, lv := range vg.LVs {
		if l.shown(lv) {
			shown = append(shown, lv)
		}
	}
	return shown
}

// Snapshots lists the COW volumes of the origin's snapshots, one that is being
// merged among them, in the order they were made.
func (vg *VG) Snapshots(origin string) []*LV {
	var snaps []*LV
	for _, k := range vg.links().byOrigin[origin] {
		if lv := vg.LV(k.seg.COW); lv != nil {
			snaps = append(snaps, lv)
		}
	}
	return snaps
}

// Origin returns what a snapshot was taken of, nil if the volume is no
// snapshot.
func (vg *VG) Origin(snap string) *LV {
	if k, ok := vg.links().byCOW[snap]; ok {
		return vg.LV(k.seg.Origin)
	}
	return nil
}

// Thin reports a volume in a thin pool that is not the store of a thick snapshot:
// a snapshot of it is thin if no size is asked for, and merging it is a swap.
func (vg *VG) Thin(name string) bool {
	lv := vg.LV(name)
	return lv != nil && lv.Thin() != nil && vg.Origin(name) == nil
}

// SnapshotOf returns what a snapshot, thick or thin, was taken of, nil if the
// volume is none.
func (vg *VG) SnapshotOf(snap string) *LV {
	if origin := vg.Origin(snap); origin != nil { // its store may be a thin volume
		return origin
	}
	if vg.Thin(snap) {
		return vg.LV(vg.LV(snap).Thin().Origin)
	}
	return nil
}

// Snapshot returns the segment that makes a volume a snapshot: its origin,
// chunk size, and whether it is being merged; nil if the volume is none.
func (vg *VG) Snapshot(snap string) *Segment { return vg.links().byCOW[snap].seg }

// Merging returns the snapshot that is being merged into the origin, or waits
// to be; nil if there is none.
func (vg *VG) Merging(origin string) *LV {
	if k, ok := vg.links().merging(origin); ok {
		return vg.LV(k.seg.COW)
	}
	return nil
}

// users lists the volumes, other than snapshot helpers, whose segments name a
// volume.
func (vg *VG) users(name string) []string {
	var users []string
	names := func(a Area) bool { return a.PV == name }
	for _, lv := range vg.LVs {
		if lv.Name == name {
			continue
		}
		for _, s := range lv.Segments {
			if slices.ContainsFunc(s.refs, names) || slices.Contains(s.names(), name) || vg.PV(name) == nil && slices.ContainsFunc(s.Stripes, names) {
				users = append(users, lv.Name)
				break
			}
		}
	}
	return users
}

// missing returns a physical volume the segments lie on that is missing.
func (vg *VG) missing(lv *LV) *PV {
	for _, s := range lv.Segments {
		for _, a := range s.Stripes {
			if pv := vg.PV(a.PV); pv != nil && pv.Missing() {
				return pv
			}
		}
	}
	return nil
}

// lvStatusOrder is the order lvm2 prints status words in
// (lib/format_text/flags.c).
var lvStatusOrder = []string{statusRead, statusWrite, "FIXED_MINOR", statusVisible, "PVMOVE", "LOCKED", "NOTSYNCED", "REBUILD", "WRITEMOSTLY"}

// setStatus adds or removes a status word.
func (lv *LV) setStatus(word string, on bool) {
	has := slices.Contains(lv.Status, word)
	switch {
	case has && !on:
		lv.Status = slices.DeleteFunc(slices.Clone(lv.Status), func(w string) bool { return w == word })
	case !has && on:
		rank := slices.Index(lvStatusOrder, word)
		at := slices.IndexFunc(lv.Status, func(w string) bool { return slices.Index(lvStatusOrder, w) > rank })
		if at < 0 {
			at = len(lv.Status)
		}
		lv.Status = slices.Insert(slices.Clone(lv.Status), at, word)
	}
}
