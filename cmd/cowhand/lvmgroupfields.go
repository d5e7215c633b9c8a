package main

import (
	"slices"

	"cowhand/dmcore"
	"cowhand/lvm"
)

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
		lvmText(of, "vg_allocation_policy", "AllocPol", 10, func(r *lvmRow) string { return r.group.Policy() }),
		lvmFlag(of, "vg_clustered", "Clustered", "clustered", 10, func(r *lvmRow) bool { return slices.Contains(r.group.Status, "CLUSTERED") }),
		lvmFlag(of, "vg_shared", "Shared", "shared", 7, func(r *lvmRow) bool { return slices.Contains(r.group.Status, "SHARED") }),
		lvmLength(of, "vg_size", "VSize", func(r *lvmRow) uint64 { return bytesOf(r.group.Sectors(r.group.TotalExtents())) }),
		lvmLength(of, "vg_free", "VFree", func(r *lvmRow) uint64 { return bytesOf(r.group.Sectors(r.group.allFree)) }),
		lvmText(of, "vg_sysid", "SYS ID", 0, func(r *lvmRow) string { return r.group.SystemID }),
		lvmText(of, "vg_systemid", "System ID", 0, func(r *lvmRow) string { return r.group.SystemID }),
		lvmText(of, "vg_lock_type", "LockType", 0, func(r *lvmRow) string { return r.group.LockType }),
		lvmLength(of, "vg_extent_size", "Ext", func(r *lvmRow) uint64 { return bytesOf(r.group.ExtentSize) }),
		lvmCount(of, "vg_extent_count", "#Ext", 0, func(r *lvmRow) int64 { return int64(r.group.TotalExtents()) }),
		lvmCount(of, "vg_free_count", "Free", 0, func(r *lvmRow) int64 { return int64(r.group.allFree) }),
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
		lvmWide(9, of, "vg_mda_free", "VMdaFree", func(r *lvmRow) uint64 {
			return leastArea(r.group.devs, func(d lvm.Volume) int64 { return d.AreaFree })
		}),
		lvmWide(9, of, "vg_mda_size", "VMdaSize", func(r *lvmRow) uint64 {
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
	return wholeSectors(least)
}

// wholeSectors is how lvm2 counts the room of metadata areas.
func wholeSectors(n int64) uint64 { return uint64(max(n, 0)) &^ (dmcore.SectorSize - 1) }

// vgAttr is the six characters of vg_attr (lvm2 2.03.16, lib/metadata/vg.c,
// vg_attr_dup).
func vgAttr(g *lvmGroup) string {
	a := []byte("r---n-")
	a[4] = g.PolicyLetter()
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
