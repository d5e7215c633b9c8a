package main

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cowhand/lvm"
)

// lvmSegmentColumns are about segments of volumes.
func lvmSegmentColumns() []lvmColumn {
	const of = lvmOfSegment
	none := func(*lvmRow) string { return "" }
	each := func(r *lvmRow) lvm.Extents { return r.seg.Count / max(1, lvm.Extents(len(r.seg.Stripes))) }
	ranges := func(separator string) func(r *lvmRow) string {
		return func(r *lvmRow) string {
			var list []string
			for _, a := range r.seg.Stripes {
				list = append(list, fmt.Sprintf("%s:%d-%d", pvDevice(r.group, a.PV), a.Start, a.Start+each(r)-1))
			}
			return strings.Join(list, separator)
		}
	}
	return lvmWhere([]lvmColumn{
		lvmText(of, "segtype", "Type", 0, func(r *lvmRow) string { return segType(r.seg) }),
		lvmCount(of, "stripes", "#Str", 0, segAreas),
		lvmCount(of, "data_stripes", "#DStr", 0, segAreas),
		lvmLength(of, "stripe_size", "Stripe", func(r *lvmRow) uint64 { return bytesOf(r.seg.StripeSize) }),
		lvmLength(of, "region_size", "Region", func(*lvmRow) uint64 { return 0 }),
		lvmLength(of, "chunk_size", "Chunk", func(r *lvmRow) uint64 {
			if r.lv == nil {
				return 0
			}
			if s := r.group.byCOW[r.lv.Name]; s != nil {
				return bytesOf(s.ChunkSize)
			}
			if r.seg.ThinPool != nil {
				return bytesOf(r.seg.ChunkSize)
			}
			return 0
		}),
		lvmMaybe(of, "thin_count", "#Thins", func(r *lvmRow) (int64, bool) {
			if r.seg.ThinPool == nil {
				return 0, false
			}
			return int64(len(r.group.ThinVolumes(r.lv.Name))), true
		}),
		lvmText(of, "discards", "Discards", 0, func(r *lvmRow) string {
			if p := poolOf(r); p != nil {
				return p.Discards
			}
			return ""
		}),
		lvmText(of, "zero", "Zero", 7, func(r *lvmRow) string {
			switch p := poolOf(r); {
			case p == nil:
				return "unknown"
			case p.Zero:
				return "zero"
			}
			return ""
		}),
		lvmMaybe(of, "transaction_id", "TransId", func(r *lvmRow) (int64, bool) {
			switch {
			case r.seg.ThinPool != nil:
				return int64(r.seg.ThinPool.TransactionID), true
			case r.seg.Thin != nil:
				return int64(r.seg.Thin.TransactionID), true
			}
			return 0, false
		}),
		lvmMaybe(of, "thin_id", "ThId", func(r *lvmRow) (int64, bool) {
			if r.seg.Thin == nil {
				return 0, false
			}
			return int64(r.seg.Thin.DeviceID), true
		}),
		lvmLength(of, "seg_start", "Start", func(r *lvmRow) uint64 { return bytesOf(r.group.Sectors(r.seg.Start)) }),
		lvmCount(of, "seg_start_pe", "Start", 0, func(r *lvmRow) int64 { return int64(r.seg.Start) }),
		lvmLength(of, "seg_size", "SSize", func(r *lvmRow) uint64 { return bytesOf(r.group.Sectors(r.seg.Count)) }),
		lvmCount(of, "seg_size_pe", "SSize", 0, func(r *lvmRow) int64 { return int64(r.seg.Count) }),
		lvmText(of, "seg_tags", "Seg Tags", 0, none),
		lvmText(of, "seg_pe_ranges", "PE Ranges", 0, ranges(" ")),
		lvmText(of, "seg_le_ranges", "LE Ranges", 0, ranges(",")),
		lvmText(of, "devices", "Devices", 0, func(r *lvmRow) string {
			var list []string
			for _, a := range r.seg.Stripes {
				list = append(list, fmt.Sprintf("%s(%d)", pvDevice(r.group, a.PV), a.Start))
			}
			if p := r.seg.ThinPool; p != nil {
				list = append(list, p.Data+"(0)")
			}
			return strings.Join(list, ",")
		}),
		lvmText(of, "metadata_devices", "Metadata Devs", 0, none),
		lvmText(of, "seg_monitor", "Monitor", 0, none),
	}, func(r *lvmRow) bool { return r.seg != nil })
}

// segType is the type of a segment as lvs names it.
func segType(s *lvm.Segment) string {
	if s.Type == "striped" && len(s.Stripes) == 1 {
		return "linear"
	}
	if s.ThinPool != nil { // without the flags that are glued to it
		return "thin-pool"
	}
	return s.Type
}

// pvDevice is where a physical volume is, or the hidden volume of that name.
func pvDevice(g *lvmGroup, name string) string {
	pv := g.PV(name)
	switch {
	case pv == nil:
		return name
	case pv.Missing() || pv.Device == "":
		return "[unknown]"
	}
	return pv.Device
}

// lvmDeviceColumns are about physical volumes.
func lvmDeviceColumns() []lvmColumn {
	const of = lvmOfPV
	inGroup := func(r *lvmRow) bool { return r.group != nil }
	size := func(r *lvmRow) uint64 {
		switch {
		case inGroup(r):
			return bytesOf(r.group.Sectors(r.pv.PECount))
		case r.dev != nil:
			return bytesOf(r.dev.Size)
		}
		return 0
	}
	free := func(r *lvmRow) uint64 {
		if !inGroup(r) {
			return size(r)
		}
		return bytesOf(r.group.Sectors(r.group.free[r.pv.Name]))
	}
	dev := func(of func(*lvm.Volume) int64) func(*lvmRow) int64 {
		return func(r *lvmRow) int64 {
			if r.dev == nil {
				return 0
			}
			return max(of(r.dev), 0)
		}
	}
	bytes := func(of func(*lvm.Volume) int64) func(*lvmRow) uint64 {
		n := dev(of)
		return func(r *lvmRow) uint64 { return wholeSectors(n(r)) }
	}
	return lvmWhere([]lvmColumn{
		lvmText(of, "pv_fmt", "Fmt", 4, func(*lvmRow) string { return "lvm2" }),
		lvmText(of, "pv_uuid", "PV UUID", 38, func(r *lvmRow) string { return r.pv.ID.Dashed() }),
		lvmLength(of, "dev_size", "DevSize", func(r *lvmRow) uint64 {
			if r.dev == nil {
				return 0
			}
			return bytesOf(r.dev.Size)
		}),
		lvmText(of, "pv_name", "PV", 0, func(r *lvmRow) string {
			if r.dev == nil {
				return "[unknown]"
			}
			return r.dev.Path
		}),
		left(lvmCount(of, "pv_major", "Maj", 0, func(r *lvmRow) int64 { major, _ := deviceNumber(r.dev); return major })),
		left(lvmCount(of, "pv_minor", "Min", 0, func(r *lvmRow) int64 { _, minor := deviceNumber(r.dev); return minor })),
		lvmWide(9, of, "pv_mda_free", "PMdaFree", bytes(func(d *lvm.Volume) int64 { return d.AreaFree })),
		lvmWide(9, of, "pv_mda_size", "PMdaSize", bytes(func(d *lvm.Volume) int64 { return d.AreaSize })),
		lvmCount(of, "pv_ext_vsn", "PExtVsn", 0, func(*lvmRow) int64 { return 2 }),
		lvmWide(7, of, "pe_start", "1st PE", func(r *lvmRow) uint64 { return bytesOf(r.pv.PEStart) }),
		lvmLength(of, "pv_size", "PSize", size),
		lvmLength(of, "pv_free", "PFree", free),
		lvmLength(of, "pv_used", "Used", func(r *lvmRow) uint64 { return size(r) - free(r) }),
		lvmText(of, "pv_attr", "Attr", 0, pvAttr),
		lvmFlag(of, "pv_allocatable", "Allocatable", "allocatable", 0, func(r *lvmRow) bool { return inGroup(r) && r.pv.Allocatable() }),
		lvmFlag(of, "pv_exported", "Exported", "exported", 10, func(r *lvmRow) bool { return inGroup(r) && r.group.Exported() }),
		lvmFlag(of, "pv_missing", "Missing", "missing", 10, func(r *lvmRow) bool { return r.pv.Missing() }),
		lvmCount(of, "pv_pe_count", "PE", 3, func(r *lvmRow) int64 { return int64(r.pv.PECount) }),
		lvmCount(of, "pv_pe_alloc_count", "Alloc", 0, func(r *lvmRow) int64 {
			if !inGroup(r) {
				return 0
			}
			return int64(r.pv.PECount - r.group.free[r.pv.Name])
		}),
		lvmTags(of, "pv_tags", "PV Tags", func(r *lvmRow) []string { return r.pv.Tags }),
		lvmCount(of, "pv_mda_count", "#PMda", 0, dev(func(d *lvm.Volume) int64 { return int64(d.Areas) })),
		lvmCount(of, "pv_mda_used_count", "#PMdaUse", 0, dev(func(d *lvm.Volume) int64 { return int64(d.AreasInUse) })),
		lvmFlag(of, "pv_in_use", "PInUse", "used", 0, func(r *lvmRow) bool { return inGroup(r) || r.dev != nil && r.dev.Used }),
		lvmFlag(of, "pv_duplicate", "Duplicate", "duplicate", 0, func(*lvmRow) bool { return false }),
	}, func(r *lvmRow) bool { return r.pv != nil })
}

// left has numbers stand to the left.
func left(c lvmColumn) lvmColumn { c.right = false; return c }

// deviceNumber is that of a physical volume; an image file has none.
func deviceNumber(dev *lvm.Volume) (major, minor int64) {
	var st unix.Stat_t
	if dev == nil || unix.Stat(dev.Path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return -1, -1
	}
	return int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
}

// pvAttr is the three characters of pv_attr (lvm2 2.03.16, lib/metadata/pv.c,
// pv_attr_dup).
func pvAttr(r *lvmRow) string {
	a := []byte("---")
	switch {
	case r.group != nil && slices.Contains(r.pv.Status, "ALLOCATABLE"):
		a[0] = 'a'
	case r.group == nil && r.dev != nil && r.dev.Used:
		a[0] = 'u'
	}
	if r.group != nil && r.group.Exported() {
		a[1] = 'x'
	}
	if r.pv.Missing() {
		a[2] = 'm'
	}
	return string(a)
}

// lvmRunColumns are about runs of extents on physical volumes.
func lvmRunColumns() []lvmColumn {
	const of = lvmOfPVSegment
	return []lvmColumn{
		lvmCount(of, "pvseg_start", "Start", 0, func(r *lvmRow) int64 {
			if r.run == nil {
				return 0
			}
			return int64(r.run.Start)
		}),
		lvmCount(of, "pvseg_size", "SSize", 0, func(r *lvmRow) int64 {
			if r.run == nil {
				return 0
			}
			return int64(r.run.Count)
		}),
	}
}
