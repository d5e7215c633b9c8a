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
}

// lvmGroup is a group with what is looked up often.
type lvmGroup struct {
	*lvm.VG
	byCOW    map[string]*lvm.Segment
	byOrigin map[string][]*lvm.Segment
	shown    map[string]bool
	helpers  map[string]bool
	free     map[string]lvm.Extents // by physical volume
	devs     []lvm.Volume
}

func newLVMGroup(vg *lvm.VG, pvs []lvm.Volume) *lvmGroup {
	g := &lvmGroup{VG: vg, byCOW: map[string]*lvm.Segment{}, byOrigin: map[string][]*lvm.Segment{}, shown: map[string]bool{},
		helpers: map[string]bool{}, free: map[string]lvm.Extents{}}
	for _, lv := range vg.LVs {
		for _, s := range lv.Segments {
			if s.COW != "" {
				g.byCOW[s.COW], g.helpers[lv.Name] = s, true
				g.byOrigin[s.Origin] = append(g.byOrigin[s.Origin], s)
			}
		}
	}
	for _, lv := range vg.ShownLVs() {
		g.shown[lv.Name] = true
	}
	for _, r := range vg.FreeRuns() {
		g.free[r.PV] += r.Count
	}
	for _, d := range pvs {
		if vg.PVByID(d.ID) != nil {
			g.devs = append(g.devs, d)
		}
	}
	return g
}

// origin is the name of what a volume is a snapshot of.
func (g *lvmGroup) origin(lv *lvm.LV) string {
	if s := g.byCOW[lv.Name]; s != nil {
		return s.Origin
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

// lvmGroupColumns are about groups. Of a physical volume in no group they show
// nothing.
func lvmGroupColumns() []lvmColumn {
	const of = lvmOfVG
	columns := []lvmColumn{
		lvmText(of, "vg_fmt", "Fmt", 4, func(r *lvmRow) string { return "lvm2" }),
		lvmText(of, "vg_uuid", "VG UUID", 38, func(r *lvmRow) string { return r.group.ID.Dashed() }),
		lvmText(of, "vg_name", "VG", 0, func(r *lvmRow) string { return r.group.Name }),
		lvmText(of, "vg_attr", "Attr", 5, func(r *lvmRow) string { return vgAttr(r.group) }),
		lvmText(of, "vg_permissions", "VPerms", 10, func(r *lvmRow) string {
			if r.group.Writable() {
				return "writeable"
			}
			return "read-only"
		}),
		lvmFlag(of, "vg_extendable", "Extendable", "extendable", 0, func(r *lvmRow) bool { return slices.Contains(r.group.Status, "RESIZEABLE") }),
		lvmFlag(of, "vg_exported", "Exported", "exported", 10, func(r *lvmRow) bool { return r.group.Exported() }),
		lvmFlag(of, "vg_partial", "Partial", "partial", 10, func(r *lvmRow) bool { return r.group.partial() }),
		lvmText(of, "vg_allocation_policy", "AllocPol", 10, func(r *lvmRow) string { return "normal" }),
		lvmFlag(of, "vg_clustered", "Clustered", "clustered", 10, func(r *lvmRow) bool { return slices.Contains(r.group.Status, "CLUSTERED") }),
		lvmFlag(of, "vg_shared", "Shared", "shared", 7, func(r *lvmRow) bool { return slices.Contains(r.group.Status, "SHARED") }),
		lvmLength(of, "vg_size", "VSize", func(r *lvmRow) uint64 { return bytesOf(r.group.Sectors(r.group.TotalExtents())) }),
		lvmLength(of, "vg_free", "VFree", func(r *lvmRow) uint64 { return bytesOf(r.group.Sectors(r.group.FreeExtents())) }),
		lvmText(of, "vg_sysid", "SYS ID", 0, func(r *lvmRow) string { return r.group.SystemID }),
		lvmText(of, "vg_systemid", "System ID", 0, func(r *lvmRow) string { return r.group.SystemID }),
		lvmText(of, "vg_lock_type", "LockType", 0, func(r *lvmRow) string { return r.group.LockType }),
		lvmLength(of, "vg_extent_size", "Ext", func(r *lvmRow) uint64 { return bytesOf(r.group.ExtentSize) }),
		lvmCount(of, "vg_extent_count", "#Ext", 0, func(r *lvmRow) int64 { return int64(r.group.TotalExtents()) }),
		lvmCount(of, "vg_free_count", "Free", 0, func(r *lvmRow) int64 { return int64(r.group.FreeExtents()) }),
		lvmCount(of, "max_lv", "MaxLV", 0, func(r *lvmRow) int64 { return int64(r.group.MaxLV) }),
		lvmCount(of, "max_pv", "MaxPV", 0, func(r *lvmRow) int64 { return int64(r.group.MaxPV) }),
		lvmCount(of, "pv_count", "#PV", 0, func(r *lvmRow) int64 { return int64(len(r.group.PVs)) }),
		lvmCount(of, "vg_missing_pv_count", "#PV Missing", 0, func(r *lvmRow) (n int64) {
			for _, pv := range r.group.PVs {
				if pv.Missing() {
					n++
				}
			}
			return n
		}),
		lvmCount(of, "lv_count", "#LV", 0, func(r *lvmRow) int64 { return int64(len(r.group.shown)) }),
		lvmCount(of, "snap_count", "#SN", 0, func(r *lvmRow) int64 { return int64(len(r.group.byCOW)) }),
		lvmCount(of, "vg_seqno", "Seq", 0, func(r *lvmRow) int64 { return int64(r.group.Seqno) }),
		lvmTags(of, "vg_tags", "VG Tags", func(r *lvmRow) []string { return r.group.Tags }),
		lvmText(of, "vg_profile", "VProfile", 0, func(*lvmRow) string { return "" }),
		lvmCount(of, "vg_mda_count", "#VMda", 0, func(r *lvmRow) (n int64) {
			for _, d := range r.group.devs {
				n += int64(d.Areas)
			}
			return n
		}),
		lvmCount(of, "vg_mda_used_count", "#VMdaUse", 0, func(r *lvmRow) (n int64) {
			for _, d := range r.group.devs {
				n += int64(d.AreasInUse)
			}
			return n
		}),
		lvmLength(of, "vg_mda_free", "VMdaFree", func(r *lvmRow) uint64 {
			return leastArea(r.group.devs, func(d lvm.Volume) int64 { return d.AreaFree })
		}),
		lvmLength(of, "vg_mda_size", "VMdaSize", func(r *lvmRow) uint64 {
			return leastArea(r.group.devs, func(d lvm.Volume) int64 { return d.AreaSize })
		}),
		lvmText(of, "vg_mda_copies", "#VMdaCps", 9, func(*lvmRow) string { return "unmanaged" }),
	}
	for i, c := range columns {
		columns[i].show = func(r *lvmRow) lvmCell {
			if r.group == nil {
				return lvmCell{}
			}
			return c.show(r)
		}
	}
	return columns
}

func leastArea(devs []lvm.Volume, of func(lvm.Volume) int64) uint64 {
	least, any := int64(0), false
	for _, d := range devs {
		if n := of(d); d.Areas > 0 && (!any || n < least) {
			least, any = n, true
		}
	}
	return uint64(max(least, 0))
}

// vgAttr is the six characters of vg_attr (lvm2 2.03.16, lib/metadata/vg.c,
// vg_attr_dup).
func vgAttr(g *lvmGroup) string {
	a := []byte("r---n-")
	if g.Writable() {
		a[0] = 'w'
	}
	if slices.Contains(g.Status, "RESIZEABLE") {
		a[1] = 'z'
	}
	if g.Exported() {
		a[2] = 'x'
	}
	if g.partial() {
		a[3] = 'p'
	}
	switch {
	case slices.Contains(g.Status, "CLUSTERED"):
		a[5] = 'c'
	case g.LockType != "" && g.LockType != "none":
		a[5] = 's'
	}
	return string(a)
}

// lvmVolumeColumns are about volumes.
func lvmVolumeColumns() []lvmColumn {
	const of = lvmOfLV
	name := func(r *lvmRow) string {
		if !r.group.shown[r.lv.Name] {
			return "[" + r.lv.Name + "]"
		}
		return r.lv.Name
	}
	none := func(*lvmRow) string { return "" }
	percent := func(r *lvmRow) (float64, bool) { return r.state.DataPercent() }
	columns := []lvmColumn{
		lvmText(of, "lv_uuid", "LV UUID", 38, func(r *lvmRow) string { return r.lv.ID.Dashed() }),
		{"lv_name", "LV", false, 4, of, func(r *lvmRow) lvmCell { return lvmCell{text: name(r), key: r.lv.Name} }},
		lvmText(of, "lv_full_name", "LV", 4, func(r *lvmRow) string { return r.group.Name + "/" + name(r) }),
		lvmText(of, "lv_path", "Path", 0, func(r *lvmRow) string {
			if !r.group.shown[r.lv.Name] {
				return ""
			}
			return "/dev/" + r.group.Name + "/" + r.lv.Name
		}),
		lvmText(of, "lv_dm_path", "DMPath", 0, func(r *lvmRow) string {
			return "/dev/mapper/" + string(dmcore.BuildName(r.group.Name, r.lv.Name, ""))
		}),
		lvmText(of, "lv_parent", "Parent", 0, none),
		lvmText(of, "lv_layout", "Layout", 10, func(r *lvmRow) string { return r.lv.SegType() }),
		lvmText(of, "lv_role", "Role", 10, lvRole),
		lvmFlag(of, "lv_merging", "Merging", "merging", 10, func(r *lvmRow) bool {
			s := r.group.byCOW[r.lv.Name]
			return r.group.merging(r.lv.Name) || s != nil && s.Merging
		}),
		lvmFlag(of, "lv_converting", "Converting", "converting", 0, func(*lvmRow) bool { return false }),
		lvmText(of, "lv_allocation_policy", "AllocPol", 10, func(*lvmRow) string { return "inherit" }),
		lvmFlag(of, "lv_allocation_locked", "AllocLock", "allocation locked", 10, func(r *lvmRow) bool { return slices.Contains(r.lv.Status, "LOCKED") }),
		lvmFlag(of, "lv_fixed_minor", "FixMin", "fixed minor", 10, func(r *lvmRow) bool { return slices.Contains(r.lv.Status, "FIXED_MINOR") }),
		lvmFlag(of, "lv_skip_activation", "SkipAct", "skip activation", 15, func(r *lvmRow) bool { return slices.Contains(r.lv.Flags, "ACTIVATION_SKIP") }),
		lvmFlag(of, "lv_autoactivation", "AutoAct", "enabled", 0, func(r *lvmRow) bool { return !slices.Contains(r.lv.Flags, "NOAUTOACTIVATE") }),
		lvmText(of, "lv_active", "Active", 6, func(r *lvmRow) string {
			switch {
			case !r.state.Known:
				return "unknown"
			case r.state.Exists:
				return "active"
			}
			return ""
		}),
		lvmLive("lv_active_locally", "ActLocal", "active locally", 10, func(r *lvmRow) bool { return r.state.Exists }),
		lvmLive("lv_active_exclusively", "ActExcl", "active exclusively", 10, func(r *lvmRow) bool { return r.state.Exists }),
		lvmCount(of, "lv_major", "Maj", 0, func(*lvmRow) int64 { return -1 }),
		lvmCount(of, "lv_minor", "Min", 0, func(*lvmRow) int64 { return -1 }),
		{"lv_read_ahead", "Rahead", true, 0, of, func(*lvmRow) lvmCell { return lvmCell{text: "auto", isNum: true} }},
		lvmLength(of, "lv_size", "LSize", func(r *lvmRow) uint64 { return bytesOf(r.group.Size(r.lv)) }),
		lvmText(of, "lv_metadata_size", "MSize", 0, none),
		lvmCount(of, "seg_count", "#Seg", 0, func(r *lvmRow) int64 { return int64(len(r.lv.Segments)) }),
		lvmText(of, "origin", "Origin", 0, func(r *lvmRow) string { return r.group.origin(r.lv) }),
		lvmText(of, "origin_uuid", "Origin UUID", 38, func(r *lvmRow) string {
			if o := r.group.LV(r.group.origin(r.lv)); o != nil {
				return o.ID.Dashed()
			}
			return ""
		}),
		{"origin_size", "OSize", true, 0, of, func(r *lvmRow) lvmCell {
			lv := r.group.LV(r.group.origin(r.lv))
			if lv == nil && len(r.group.byOrigin[r.lv.Name]) > 0 {
				lv = r.lv
			}
			if lv == nil {
				return lvmCell{isNum: true}
			}
			n := bytesOf(r.group.Size(lv))
			return lvmCell{text: r.units.String(n), number: float64(n), isNum: true}
		}},
		lvmText(of, "lv_ancestors", "Ancestors", 0, func(r *lvmRow) string { return r.group.origin(r.lv) }),
		lvmText(of, "lv_descendants", "Descendants", 0, func(r *lvmRow) string {
			var names []string
			for _, s := range r.group.byOrigin[r.lv.Name] {
				names = append(names, s.COW)
			}
			slices.Sort(names)
			return strings.Join(names, ",")
		}),
		lvmText(of, "move_pv", "Move", 0, none),
		lvmText(of, "convert_lv", "Convert", 0, none),
		lvmText(of, "mirror_log", "Log", 0, none),
		lvmText(of, "data_lv", "Data", 0, none),
		lvmText(of, "metadata_lv", "Meta", 0, none),
		lvmText(of, "pool_lv", "Pool", 0, none),
		lvmTags(of, "lv_tags", "LV Tags", func(r *lvmRow) []string { return r.lv.Tags }),
		lvmText(of, "lv_profile", "LProfile", 0, none),
		{"lv_time", "CTime", false, 26, of, func(r *lvmRow) lvmCell {
			if r.lv.CreationTime.IsZero() {
				return lvmCell{isNum: true}
			}
			return lvmCell{text: lvTime(r.lv), number: float64(r.lv.CreationTime.Unix()), isNum: true}
		}},
		lvmText(of, "lv_host", "Host", 10, func(r *lvmRow) string { return r.lv.CreationHost }),
		lvmText(of, "lv_modules", "Modules", 0, func(r *lvmRow) string {
			if r.group.byCOW[r.lv.Name] != nil || len(r.group.byOrigin[r.lv.Name]) > 0 {
				return "snapshot"
			}
			return ""
		}),
		lvmCount(of, "lv_kernel_major", "KMaj", 0, func(r *lvmRow) int64 {
			if !r.state.Exists {
				return -1
			}
			return int64(r.state.Info.Dev.Major)
		}),
		lvmCount(of, "lv_kernel_minor", "KMin", 0, func(r *lvmRow) int64 {
			if !r.state.Exists {
				return -1
			}
			return int64(r.state.Info.Dev.Minor)
		}),
		lvmText(of, "lv_permissions", "LPerms", 8, func(r *lvmRow) string {
			switch {
			case !r.state.Known:
				return "unknown"
			case !r.lv.Writable():
				return "read-only"
			case r.state.Exists && r.state.Info.ReadOnly:
				return "read-only-override"
			}
			return "writeable"
		}),
		lvmLive("lv_suspended", "Suspended", "suspended", 10, func(r *lvmRow) bool { return r.state.Exists && r.state.Info.Suspended }),
		lvmLive("lv_live_table", "LiveTable", "live table present", 20, func(r *lvmRow) bool { return r.state.Exists && r.state.Info.Live }),
		lvmLive("lv_inactive_table", "InactiveTable", "inactive table present", 20, func(r *lvmRow) bool { return r.state.Exists && r.state.Info.Inactive }),
		lvmLive("lv_device_open", "DevOpen", "open", 10, func(r *lvmRow) bool { return r.state.Exists && r.state.Info.OpenCount > 0 }),
		lvmPart("data_percent", "Data%", 6, percent),
		lvmPart("snap_percent", "Snap%", 6, percent),
		lvmText(of, "metadata_percent", "Meta%", 6, none),
		lvmText(of, "copy_percent", "Cpy%Sync", 8, none),
		lvmText(of, "sync_percent", "Cpy%Sync", 8, none),
		lvmText(of, "lv_health_status", "Health", 15, func(r *lvmRow) string {
			if r.group.Attr(r.lv, r.state)[8] == 'p' {
				return "partial"
			}
			return ""
		}),
		lvmLive("lv_check_needed", "CheckNeeded", "check needed", 15, func(*lvmRow) bool { return false }),
		lvmLive("lv_merge_failed", "MergeFailed", "merge failed", 15, func(r *lvmRow) bool {
			return r.state.Snapshot != nil && r.state.Snapshot.State == dmcore.MergeFailed
		}),
		lvmLive("lv_snapshot_invalid", "SnapInvalid", "snapshot invalid", 15, func(r *lvmRow) bool {
			return r.group.byCOW[r.lv.Name] != nil && r.state.Snapshot != nil && r.state.Snapshot.State == dmcore.SnapshotInvalid
		}),
		lvmText(of, "lv_attr", "Attr", 10, func(r *lvmRow) string { return r.group.Attr(r.lv, r.state) }),
	}
	return lvmWhere(columns, func(r *lvmRow) bool { return r.lv != nil })
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

// lvTime is when a volume was made, in the time zone of who looks.
func lvTime(lv *lvm.LV) string {
	return lv.CreationTime.Local().Format("2006-01-02 15:04:05 -0700")
}

func lvRole(r *lvmRow) string {
	role := "public"
	if !r.group.shown[r.lv.Name] {
		role = "private"
	}
	if len(r.group.byOrigin[r.lv.Name]) > 0 {
		role += ",origin,thickorigin"
	}
	if r.group.byCOW[r.lv.Name] != nil {
		role += ",snapshot,thicksnapshot"
	}
	return role
}
