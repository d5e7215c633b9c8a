package main

import (
	"slices"
	"strings"

	"cowhand/dmcore"
	"cowhand/lvm"
)

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
			return lvmDevDir() + "/" + r.group.Name + "/" + r.lv.Name
		}),
		lvmText(of, "lv_dm_path", "DMPath", 0, func(r *lvmRow) string {
			return lvmDevDir() + "/mapper/" + string(dmcore.BuildName(r.group.Name, r.lv.Name, ""))
		}),
		lvmText(of, "lv_parent", "Parent", 0, none),
		lvmText(of, "lv_layout", "Layout", 10, lvLayout),
		lvmText(of, "lv_role", "Role", 10, lvRole),
		lvmFlag(of, "lv_merging", "Merging", "merging", 10, func(r *lvmRow) bool {
			s := r.group.byCOW[r.lv.Name]
			return r.group.merging(r.lv.Name) || s != nil && s.Merging
		}),
		lvmFlag(of, "lv_converting", "Converting", "converting", 0, func(*lvmRow) bool { return false }),
		lvmText(of, "lv_allocation_policy", "AllocPol", 10, func(r *lvmRow) string { return r.lv.Policy() }),
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
		lvmCount(of, "lv_major", "Maj", 0, func(r *lvmRow) int64 {
			if r.lv.Number == nil {
				return -1
			}
			return int64(r.lv.Number.Major)
		}),
		lvmCount(of, "lv_minor", "Min", 0, func(r *lvmRow) int64 {
			if r.lv.Number == nil {
				return -1
			}
			return int64(r.lv.Number.Minor)
		}),
		{"lv_read_ahead", "Rahead", true, 0, of, func(r *lvmRow) lvmCell {
			if r.lv.ReadAhead == lvm.ReadAheadAuto {
				return lvmCell{text: "auto", isNum: true}
			}
			return sizeCell(r, bytesOf(readAheadSectors(r.lv)))
		}},
		{"lv_kernel_read_ahead", "KRahead", true, 0, of, func(r *lvmRow) lvmCell {
			n, ok := r.kernelReadAhead()
			if !ok {
				return lvmCell{text: "-1", number: -1, isNum: true}
			}
			return sizeCell(r, bytesOf(n))
		}},
		lvmLength(of, "lv_size", "LSize", func(r *lvmRow) uint64 { return bytesOf(r.group.Size(r.lv)) }),
		lvmMetadataSize(),
		lvmCount(of, "seg_count", "#Seg", 0, func(r *lvmRow) int64 { return int64(len(r.lv.Segments)) }),
		lvmText(of, "origin", "Origin", 0, originName),
		lvmText(of, "origin_uuid", "Origin UUID", 38, func(r *lvmRow) string {
			if o := r.group.LV(r.group.origin(r.lv)); o != nil {
				return o.ID.Dashed()
			}
			return ""
		}),
		{"origin_size", "OSize", true, 0, of, func(r *lvmRow) lvmCell {
			lv := r.group.LV(r.group.origin(r.lv))
			if t := r.lv.Thin(); t != nil && t.Origin != "" {
				lv = nil // it is as large as the snapshot
			}
			if lv == nil && len(r.group.byOrigin[r.lv.Name]) > 0 {
				lv = r.lv
			}
			if lv == nil {
				return lvmCell{isNum: true}
			}
			n := bytesOf(r.group.Size(lv))
			return lvmCell{text: r.units.String(n), number: float64(n), isNum: true}
		}},
		lvmText(of, "lv_ancestors", "Ancestors", 0, ancestors(false)),
		lvmText(of, "lv_full_ancestors", "FAncestors", 0, ancestors(true)),
		lvmText(of, "lv_descendants", "Descendants", 0, descendants(false)),
		lvmText(of, "lv_full_descendants", "FDescendants", 0, descendants(true)),
		lvmText(of, "lv_historical", "Historical", 0, none),
		lvmText(of, "move_pv", "Move", 0, none),
		lvmText(of, "convert_lv", "Convert", 0, none),
		lvmText(of, "mirror_log", "Log", 0, none),
		lvmText(of, "data_lv", "Data", 0, thinPart(thinData).name),
		lvmText(of, "metadata_lv", "Meta", 0, thinPart(thinMetadata).name),
		lvmText(of, "pool_lv", "Pool", 0, thinPart(thinPool).name),
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
			var modules []string
			if r.group.byCOW[r.lv.Name] != nil || len(r.group.byOrigin[r.lv.Name]) > 0 {
				modules = append(modules, "snapshot")
			}
			return strings.Join(append(modules, thinModules(r.lv)...), ",")
		}),
		lvmCount(of, "lv_kernel_major", "KMaj", 0, func(r *lvmRow) int64 {
			if !r.state.Exists || r.state.Info.Dev.Major == kernelOwn {
				return -1
			}
			return int64(r.state.Info.Dev.Major)
		}),
		lvmCount(of, "lv_kernel_minor", "KMin", 0, func(r *lvmRow) int64 {
			if !r.state.Exists || r.state.Info.Dev.Major == kernelOwn {
				return -1
			}
			return int64(r.state.Info.Dev.Minor)
		}),
		lvmText(of, "lv_permissions", "LPerms", 8, func(r *lvmRow) string {
			switch {
			case !r.lv.Writable():
				return "read-only"
			case !r.state.Known || !r.state.Exists:
				return "unknown"
			case r.state.Info.ReadOnly || inUse(r.lv.ThinPool()):
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
		lvmPart("metadata_percent", "Meta%", 6, func(r *lvmRow) (float64, bool) { return r.state.Thin.MetadataPercent() }),
		lvmText(of, "copy_percent", "Cpy%Sync", 8, none),
		lvmText(of, "sync_percent", "Cpy%Sync", 8, none),
		lvmText(of, "lv_health_status", "Health", 15, func(r *lvmRow) string {
			if r.group.attrs[r.lv.Name][8] == 'p' {
				return "partial"
			}
			return thinHealth(r)
		}),
		{"lv_check_needed", "CheckNeeded", true, 15, of, func(r *lvmRow) lvmCell {
			switch {
			case r.state.Thin == nil || r.state.Thin.Pool == nil:
				return lvmCell{text: "unknown"} // of what is no pool, too (lib/report/report.c, _lvcheckneeded_disp)
			case r.state.Thin.Pool.NeedsCheck:
				return lvmCell{text: "check needed"}
			}
			return lvmCell{}
		}},
		lvmLive("lv_merge_failed", "MergeFailed", "merge failed", 15, func(r *lvmRow) bool {
			return r.state.Snapshot != nil && r.state.Snapshot.State == dmcore.MergeFailed
		}),
		lvmLive("lv_snapshot_invalid", "SnapInvalid", "snapshot invalid", 15, func(r *lvmRow) bool {
			return r.group.byCOW[r.lv.Name] != nil && r.state.Snapshot != nil && r.state.Snapshot.State == dmcore.SnapshotInvalid
		}),
		lvmText(of, "lv_attr", "Attr", 10, func(r *lvmRow) string { return r.group.attrs[r.lv.Name] }),
	}
	columns = append(columns, lvmThinColumns()...)
	past := lvmPastColumns()
	for i, c := range lvmWhere(columns, func(r *lvmRow) bool { return r.lv != nil }) {
		if show, ok := past[c.name]; ok {
			columns[i].show = func(r *lvmRow) lvmCell {
				switch {
				case r.past == nil:
					return c.show(r)
				case c.name == "lv_name":
					return lvmCell{text: show(r), key: r.past.Name}
				}
				return lvmCell{text: show(r)}
			}
		}
	}
	return columns
}

// lvTime is when a volume was made, in the time zone of who looks.
func lvTime(lv *lvm.LV) string {
	return lv.CreationTime.Local().Format("2006-01-02 15:04:05 -0700")
}
