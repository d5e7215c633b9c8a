package lvm

import (
	"slices"
	"time"

	"cowhand/dmcore"
	"cowhand/lvm/lvmtext"
)

// Extents counts a group's allocation units. Metadata holds 32 bits.
type Extents uint64

// MaxExtents is the most a volume can have (lvm2, MAX_EXTENT_COUNT).
const MaxExtents Extents = 1<<32 - 1

// VG is a volume group as its metadata tells it. What this package does not
// know (keys, sections, segment types, flags, comments, the order of things) is
// kept with it and printed again by [VG.Text].
//
// A VG is a value: change a [VG.Clone], check it, print it. It is not safe for
// concurrent changes.
type VG struct {
	Name       string
	ID         ID
	Seqno      uint32 // raised by who writes, not by Text
	ExtentSize dmcore.Sectors
	Status     []string
	Flags      []string
	Tags       []string
	SystemID   string
	LockType   string
	MaxLV      int // 0: no limit
	MaxPV      int // 0: no limit
	PVs        []*PV
	LVs        []*LV
	Historical []*Historical // thin volumes that are gone

	text       *lvmtext.Section // what was parsed, never edited; nil for a new group
	was        string           // the section of text that is this group
	file       bool             // text is of the flavour of backup files
	allocation string           // allocation_policy, "" for normal
	lists      *Lists           // of the host that loaded it; nil: none
	settings   PoolSettings     // of the host that loaded it
	abroad     bool             // the system ID is not the host's own
}

// PV is a physical volume as its group's metadata tells it.
type PV struct {
	Name    string // pv0, pv1…: what segments refer to
	ID      ID
	Device  string // where it was last seen: a hint
	DevSize dmcore.Sectors
	PEStart dmcore.Sectors
	PECount Extents
	Status  []string
	Flags   []string
	Tags    []string

	was string // its section in VG.text, "" if it is new
}

// LV is a logical volume. A snapshot takes two: the COW volume, which bears the
// snapshot's name, and a helper "snapshotN", whose one segment ties it to its
// origin.
type LV struct {
	Name         string
	ID           ID
	Status       []string
	Flags        []string
	Tags         []string
	CreationTime time.Time // zero: not recorded
	CreationHost string
	ReadAhead    ReadAhead
	Number       *Number // of its device, if that is fixed
	Segments     []*Segment

	was        string // its section in VG.text, "" if it is new
	allocation string // allocation_policy, "" for the group's
}

// Segment is a run of a volume's extents. Start, Count and Type are of every
// segment; Stripes and StripeSize of type "striped" (a linear segment has one
// stripe); ChunkSize of types "snapshot" and "thin-pool"; Origin, COW and Merging
// of type "snapshot". Other types are kept as they were.
type Segment struct {
	Start, Count Extents
	Type         string
	StripeSize   dmcore.Sectors
	Stripes      []Area
	ChunkSize    dmcore.Sectors
	Origin, COW  string
	Merging      bool      // the snapshot is being merged into its origin
	ThinPool     *ThinPool // of type "thin-pool", nil of others
	Thin         *Thin     // of type "thin", nil of others

	was  string // its section in the volume's, "" if it is new
	refs []Area // of an unknown type: all that its strings may name
}

// Area is where a stripe lies: on a physical volume or, in types this package
// does not write, in a hidden volume of that name.
type Area struct {
	PV    string
	Start Extents
}

const (
	typeStriped  = "striped"
	typeLinear   = "linear" // read, never written
	typeSnapshot = "snapshot"

	statusRead    = "READ"
	statusWrite   = "WRITE"
	statusVisible = "VISIBLE"
	statusAlloc   = "ALLOCATABLE"
	flagMissing   = "MISSING"
)

// Clone returns a copy that can be changed without changing vg.
func (vg *VG) Clone() *VG {
	c := *vg
	c.Status, c.Flags, c.Tags = slices.Clone(vg.Status), slices.Clone(vg.Flags), slices.Clone(vg.Tags)
	c.PVs = make([]*PV, len(vg.PVs))
	for i, pv := range vg.PVs {
		p := *pv
		p.Status, p.Flags, p.Tags = slices.Clone(pv.Status), slices.Clone(pv.Flags), slices.Clone(pv.Tags)
		c.PVs[i] = &p
	}
	c.Historical = cloneHistory(vg.Historical)
	c.LVs = make([]*LV, len(vg.LVs))
	for i, lv := range vg.LVs {
		c.LVs[i] = lv.clone()
	}
	return &c
}

func (lv *LV) clone() *LV {
	c := *lv
	c.Status, c.Flags, c.Tags = slices.Clone(lv.Status), slices.Clone(lv.Flags), slices.Clone(lv.Tags)
	c.Segments = make([]*Segment, len(lv.Segments))
	for i, s := range lv.Segments {
		t := *s
		t.Stripes = slices.Clone(s.Stripes)
		t.cloneThin()
		c.Segments[i] = &t
	}
	return &c
}

// LV returns the volume of that name, nil if there is none.
func (vg *VG) LV(name string) *LV {
	for _, lv := range vg.LVs {
		if lv.Name == name {
			return lv
		}
	}
	return nil
}

// LVByID returns the volume of that ID, nil if there is none.
func (vg *VG) LVByID(id ID) *LV {
	for _, lv := range vg.LVs {
		if lv.ID == id {
			return lv
		}
	}
	return nil
}

// PV returns the physical volume of that name (pv0…), nil if there is none.
func (vg *VG) PV(name string) *PV {
	for _, pv := range vg.PVs {
		if pv.Name == name {
			return pv
		}
	}
	return nil
}

// PVByID returns the physical volume of that ID, nil if there is none.
func (vg *VG) PVByID(id ID) *PV {
	for _, pv := range vg.PVs {
		if pv.ID == id {
			return pv
		}
	}
	return nil
}

// Extents is the volume's length.
func (lv *LV) Extents() Extents {
	var n Extents
	for _, s := range lv.Segments {
		n += s.Count
	}
	return n
}

// Size is the volume's length in sectors.
func (vg *VG) Size(lv *LV) dmcore.Sectors { return vg.Sectors(lv.Extents()) }

// Sectors is the length of n extents.
func (vg *VG) Sectors(n Extents) dmcore.Sectors { return dmcore.Sectors(n) * vg.ExtentSize }

// Visible reports the status VISIBLE, which a snapshot's COW volume does not
// bear and its helper does; see [VG.Shown].
func (lv *LV) Visible() bool { return slices.Contains(lv.Status, statusVisible) }

// Writable reports whether the volume may be written.
func (lv *LV) Writable() bool { return writable(lv.Status, lv.Flags) }

// Writable reports whether the group may be changed at all.
func (vg *VG) Writable() bool { return writable(vg.Status, vg.Flags) }

// writable: lvm2 replaces WRITE by the flag WRITE_LOCKED to keep older versions
// from writing (lib/format_text/flags.c).
func writable(status, flags []string) bool {
	return slices.Contains(status, statusWrite) || slices.Contains(flags, flagWriteLocked)
}

// Exported reports a group that was exported to move it to another system.
func (vg *VG) Exported() bool { return slices.Contains(vg.Status, "EXPORTED") }

// Allocatable reports whether new extents may be taken from the volume.
func (pv *PV) Allocatable() bool { return slices.Contains(pv.Status, statusAlloc) && !pv.Missing() }

// Missing reports a volume that was absent when the group was last changed.
func (pv *PV) Missing() bool {
	return slices.Contains(pv.Flags, flagMissing) || slices.Contains(pv.Status, flagMissing)
}

// striped reports a segment that lies on stripes; a linear one has one.
func (s *Segment) striped() bool { return s.Type == typeStriped || s.Type == typeLinear }

// known reports a type this package can change.
func (s *Segment) known() bool { return s.striped() || s.Type == typeSnapshot }

// simple reports a volume that consists of linear and striped segments on
// physical volumes.
func (vg *VG) simple(lv *LV) bool {
	for _, s := range lv.Segments {
		if !s.striped() {
			return false
		}
		for _, a := range s.Stripes {
			if vg.PV(a.PV) == nil {
				return false
			}
		}
	}
	return len(lv.Segments) > 0
}

// fail wraps the cause with what it happened to.
func (vg *VG) fail(lv, op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{VG: vg.Name, LV: lv, Op: op, Err: err}
}
