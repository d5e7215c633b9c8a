package main

import (
	"strings"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// thinPart gives the name of a volume that belongs to a thin one, or of a pool.
type thinPart func(*lvm.LV) string

func thinPool(lv *lvm.LV) string {
	if t := lv.Thin(); t != nil {
		return t.Pool
	}
	return ""
}

func thinData(lv *lvm.LV) string {
	if p := lv.ThinPool(); p != nil {
		return p.Data
	}
	return ""
}

func thinMetadata(lv *lvm.LV) string {
	if p := lv.ThinPool(); p != nil {
		return p.Metadata
	}
	return ""
}

// name shows a part as lvs does, in brackets if it is hidden.
func (part thinPart) name(r *lvmRow) string {
	n := part(r.lv)
	if n != "" && !r.group.shown[n] {
		return "[" + n + "]"
	}
	return n
}

func (part thinPart) uuid(r *lvmRow) string {
	if lv := r.group.LV(part(r.lv)); lv != nil {
		return lv.ID.Dashed()
	}
	return ""
}

// lvmThinColumns are about thin pools and what is in them.
func lvmThinColumns() []lvmColumn {
	const of = lvmOfLV
	return []lvmColumn{
		lvmText(of, "data_lv_uuid", "Data UUID", 38, thinPart(thinData).uuid),
		lvmText(of, "metadata_lv_uuid", "Meta UUID", 38, thinPart(thinMetadata).uuid),
		lvmText(of, "pool_lv_uuid", "Pool UUID", 38, thinPart(thinPool).uuid),
		lvmText(of, "lv_when_full", "WhenFull", 15, func(r *lvmRow) string {
			switch {
			case r.lv.ThinPool() == nil:
				return ""
			case hasTag(r.lv.Flags, "ERROR_WHEN_FULL"):
				return "error"
			}
			return "queue"
		}),
		lvmText(of, "kernel_discards", "KDiscards", 0, func(r *lvmRow) string {
			if r.state.Thin == nil || r.state.Thin.Pool == nil {
				return ""
			}
			switch r.state.Thin.Pool.Discard {
			case dmcore.DiscardIgnored:
				return lvm.DiscardsIgnore
			case dmcore.DiscardNoPassdown:
				return lvm.DiscardsNoPassdown
			}
			return lvm.DiscardsPassdown
		}),
	}
}

// lvmMetadataSize is the size of a pool's metadata.
func lvmMetadataSize() lvmColumn {
	return lvmColumn{"lv_metadata_size", "MSize", true, 0, lvmOfLV, func(r *lvmRow) lvmCell {
		p := r.lv.ThinPool()
		if p == nil || r.group.LV(p.Metadata) == nil {
			return lvmCell{number: -1, isNum: true}
		}
		n := bytesOf(r.group.Size(r.group.LV(p.Metadata)))
		return lvmCell{text: r.units.String(n), number: float64(n), isNum: true}
	}}
}

// thinOrigin is what lvs calls the origin of a thin volume.
func thinOrigin(t *lvm.Thin) string {
	if t.Origin != "" {
		return t.Origin
	}
	return t.ExternalOrigin
}

// poolOf is the thin pool that a segment is, or is in.
func poolOf(r *lvmRow) *lvm.ThinPool {
	if t := r.seg.Thin; t != nil {
		if pool := r.group.LV(t.Pool); pool != nil {
			return pool.ThinPool()
		}
	}
	return r.seg.ThinPool
}

// segAreas counts what a segment lies on: a thin pool on its data, a thin volume
// on nothing of its own.
func segAreas(r *lvmRow) int64 {
	if r.seg.ThinPool != nil {
		return 1
	}
	return int64(len(r.seg.Stripes))
}

func thinModules(lv *lvm.LV) []string {
	switch {
	case lv.ThinPool() != nil:
		return []string{"thin-pool"}
	case lv.Thin() != nil:
		return []string{"thin", "thin-pool"}
	}
	return nil
}

func thinHealth(r *lvmRow) string {
	if r.lv.ThinPool() == nil {
		return ""
	}
	return map[byte]string{'F': "failed", 'D': "out_of_data", 'M': "metadata_read_only"}[r.group.attrs[r.lv.Name][8]]
}

// inUse reports a pool with volumes: what stands for it is read-only.
func inUse(p *lvm.ThinPool) bool { return p != nil && p.TransactionID > 0 }

func lvLayout(r *lvmRow) string {
	switch {
	case r.lv.ThinPool() != nil:
		return "thin,pool"
	case r.lv.Thin() != nil:
		return "thin,sparse"
	}
	return r.lv.SegType()
}

// lvRole is what a volume is there for (lvm2 2.03.16, lib/metadata/lv_manip.c,
// lv_layout_and_role).
func lvRole(r *lvmRow) string {
	public, roles := true, []string{}
	add := func(words ...string) {
		for _, w := range words {
			if !hasTag(roles, w) {
				roles = append(roles, w)
			}
		}
	}
	own := string(r.group.DeviceUUID(r.lv))
	snapshots, readers := 0, 0
	for _, name := range r.group.thinOf[r.lv.Name] {
		if r.group.LV(name).Thin().ExternalOrigin == r.lv.Name {
			readers++
		} else {
			snapshots++
		}
	}
	switch {
	case strings.HasSuffix(own, "-tmeta"):
		public = false
		add("thin", "pool", "metadata")
	case strings.HasSuffix(own, "-tdata"):
		public = false
		add("thin", "pool", "data")
	case r.lv.ThinPool() != nil:
		public = false
	case strings.Contains(r.lv.Name, "_pmspare") && !r.lv.Visible():
		public = false
		add("pool", "spare")
	case !r.group.shown[r.lv.Name] && r.group.byCOW[r.lv.Name] == nil && r.lv.Thin() == nil:
		public = false
	}
	if snapshots > 0 {
		add("origin", "thinorigin")
	}
	if snapshots > 1 {
		add("multithinorigin")
	}
	if t := r.lv.Thin(); t != nil && thinOrigin(t) != "" {
		add("snapshot", "thinsnapshot")
	}
	if readers > 0 {
		add("origin", "extthinorigin")
	}
	if readers > 1 {
		add("multiextthinorigin")
	}
	switch n := len(r.group.byOrigin[r.lv.Name]); {
	case n > 1:
		add("origin", "thickorigin", "multithickorigin")
	case n == 1:
		add("origin", "thickorigin")
	}
	if r.group.byCOW[r.lv.Name] != nil {
		add("snapshot", "thicksnapshot")
	}
	first := "public"
	if !public {
		first = "private"
	}
	return strings.Join(append([]string{first}, roles...), ",")
}
