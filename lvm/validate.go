package lvm

import (
	"errors"
	"fmt"
	"slices"
)

// Status words that lvm2 2.03.16 reads; it refuses a group with any other
// (lib/format_text/flags.c).
var (
	vgStatus = []string{"EXPORTED", "RESIZEABLE", "PVMOVE", "READ", "WRITE", "CLUSTERED", "SHARED", "PARTIAL"}
	pvStatus = []string{"ALLOCATABLE", "EXPORTED", "MISSING"}
)

// maxReported bounds what one Validate lists.
const maxReported = 20

// Validate reports, all at once, why a group must not be written: what lvm2's
// vg_validate refuses (2.03.16, lib/metadata/metadata.c), and what would make
// the text read differently from what was meant. The error matches
// [ErrInvalid].
func (vg *VG) Validate() error {
	v := &validator{vg: vg, lvs: make(map[string]*LV, len(vg.LVs)), pvs: make(map[string]*PV, len(vg.PVs)), ids: map[ID]string{}}
	v.group()
	for _, pv := range vg.PVs {
		v.pv(pv)
	}
	for _, lv := range vg.LVs {
		if v.lvs[lv.Name] != nil {
			v.bad("volume %s is there twice", lv.Name)
		}
		v.lvs[lv.Name] = lv
	}
	for _, lv := range vg.LVs {
		if p := lv.ThinPool(); p != nil {
			set(&v.parts, p.Metadata, true)
			set(&v.parts, p.Data, true)
		}
	}
	for _, lv := range vg.LVs {
		v.lv(lv)
	}
	v.snapshots()
	v.thins()
	v.history()
	v.extents()
	if len(v.errs) == 0 {
		return nil
	}
	return vg.fail("", "", fmt.Errorf("%w: %w", ErrInvalid, errors.Join(v.errs...)))
}

type validator struct {
	vg    *VG
	lvs   map[string]*LV
	pvs   map[string]*PV
	ids   map[ID]string
	parts map[string]bool // of thin pools: they have names that lvm2 keeps for them
	errs  []error
}

func (v *validator) bad(format string, args ...any) {
	if len(v.errs) < maxReported {
		v.errs = append(v.errs, fmt.Errorf(format, args...))
	}
}

func (v *validator) check(what string, err error) {
	if err != nil {
		v.bad("%s: %w", what, err)
	}
}

func (v *validator) group() {
	vg := v.vg
	v.check("group", CheckName(vg.Name))
	v.id(vg.ID, "group")
	if vg.Seqno == 0 {
		v.bad("seqno is 0")
	}
	if e := vg.ExtentSize; e == 0 || e > 1<<32-1 || e&(e-1) != 0 && e%256 != 0 {
		v.bad("extent size of %d sectors: want a power of two or a multiple of 128 KiB", e)
	}
	v.words("group", vg.Status, vg.Flags, vg.Tags, vgStatus)
	if vg.MaxLV < 0 || vg.MaxPV < 0 {
		v.bad("max_lv is %d and max_pv %d", vg.MaxLV, vg.MaxPV)
	}
	if len(vg.PVs) == 0 {
		v.bad("there is no physical volume")
	}
}

func (v *validator) id(id ID, what string) {
	if !id.valid() {
		v.bad("%s: id %q is none", what, id)
	} else if other, ok := v.ids[id]; ok {
		v.bad("%s: has the id of %s, %s", what, other, id.Dashed())
	}
	v.ids[id] = what
}

// words checks status, which lvm2 must know, flags, which it skips if it does
// not, and tags.
func (v *validator) words(what string, status, flags, tags, known []string) {
	for i, w := range status {
		if !slices.Contains(known, w) {
			v.bad("%s: unknown status %q", what, w)
		}
		if slices.Contains(status[:i], w) {
			v.bad("%s: status %q is there twice", what, w)
		}
	}
	for _, f := range flags {
		if !plain(f) {
			v.bad("%s: flag %q cannot be printed", what, f)
		}
	}
	for i, t := range tags {
		if !tagChars(t) {
			v.bad("%s: %w", what, CheckTag(t))
		}
		if slices.Contains(tags[:i], t) {
			v.bad("%s: tag %q is there twice", what, t)
		}
	}
}

// plain reports a string that needs no thought to print.
func plain(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == '"' || s[i] == '\\' {
			return false
		}
	}
	return s != ""
}

func (v *validator) pv(pv *PV) {
	what := "physical volume " + pv.Name
	if v.pvs[pv.Name] != nil {
		v.bad("%s is there twice", what)
	}
	v.pvs[pv.Name] = pv
	v.check("physical volume", CheckName(pv.Name))
	v.id(pv.ID, what)
	v.words(what, pv.Status, pv.Flags, pv.Tags, pvStatus)
	end := pv.PEStart + v.vg.Sectors(pv.PECount)
	if pv.PECount > MaxExtents || end > maxSectors {
		v.bad("%s: %d extents are too many", what, pv.PECount)
	} else if pv.DevSize > 0 && end > pv.DevSize {
		v.bad("%s: its extents end at sector %d, the device at %d", what, end, pv.DevSize)
	}
}

func (v *validator) lv(lv *LV) {
	what := "volume " + lv.Name
	v.check("volume", CheckLVName(v.vg.Name, lv.Name))
	if lv.Name != lv.was && !v.helper(lv) && !v.vg.VirtualOrigin(lv) && !lv.spare() && !v.parts[lv.Name] {
		v.check("volume", CheckReserved(lv.Name))
	}
	v.id(lv.ID, what)
	v.words(what, lv.Status, lv.Flags, lv.Tags, lvStatusOrder)
	if !lv.CreationTime.IsZero() && lv.CreationTime.Unix() < 0 {
		v.bad("%s: was made before 1970", what)
	}
	if len(lv.Segments) == 0 {
		v.bad("%s: has no segments", what)
	}
	var end Extents
	for i, s := range lv.Segments {
		if s.Start != end || s.Count == 0 {
			v.bad("%s: segment %d covers %d extents from %d, the one before ends at %d", what, i+1, s.Count, s.Start, end)
		}
		end = s.Start + s.Count
		v.segment(fmt.Sprintf("%s: segment %d", what, i+1), lv, s)
	}
	if end > MaxExtents || v.vg.Sectors(end) > maxSectors {
		v.bad("%s: %d extents are too many", what, end)
	}
}

func (v *validator) helper(lv *LV) bool {
	return slices.ContainsFunc(lv.Segments, func(s *Segment) bool { return s.Type == typeSnapshot })
}

func (v *validator) segment(what string, lv *LV, s *Segment) {
	if !plain(s.Type) {
		v.bad("%s: type %q", what, s.Type)
	}
	if s.Type == typeSnapshot {
		if len(lv.Segments) != 1 {
			v.bad("%s: a snapshot has one segment", what)
		}
		v.check(what, CheckChunk(s.ChunkSize))
		return
	}
	if !s.striped() {
		return
	}
	n := Extents(len(s.Stripes))
	if n == 0 || s.Count%n != 0 {
		v.bad("%s: %d extents cannot be dealt to %d stripes", what, s.Count, n)
		return
	}
	if n > 1 && (s.StripeSize == 0 || s.StripeSize&(s.StripeSize-1) != 0) {
		v.bad("%s: stripe size of %d sectors", what, s.StripeSize)
	}
	for _, a := range s.Stripes {
		if pv := v.pvs[a.PV]; pv != nil {
			if a.Start+s.Count/n > pv.PECount {
				v.bad("%s: extents %d to %d are beyond the %d of %s", what, a.Start, a.Start+s.Count/n-1, pv.PECount, a.PV)
			}
		} else if below := v.lvs[a.PV]; below == nil {
			v.bad("%s: %q is neither a physical volume nor a volume", what, a.PV)
		} else if below == lv {
			v.bad("%s: lies on itself", what)
		} else if a.Start+s.Count/n > below.Extents() {
			v.bad("%s: extents %d to %d are beyond the %d of %s", what, a.Start, a.Start+s.Count/n-1, below.Extents(), a.PV)
		}
	}
}

// snapshots checks what ties snapshots to their origins.
func (v *validator) snapshots() {
	links := v.vg.links()
	stores := map[string]string{}
	for _, k := range links.all {
		what := "volume " + k.helper.Name
		origin, cow := v.lvs[k.seg.Origin], v.lvs[k.seg.COW]
		if other, ok := stores[k.seg.COW]; ok {
			v.bad("%s: %s is the store of %s", what, k.seg.COW, other)
		}
		stores[k.seg.COW] = k.helper.Name
		switch {
		case origin == nil:
			v.bad("%s: its origin %q is not there", what, k.seg.Origin)
			continue
		case cow == nil:
			v.bad("%s: its store %q is not there", what, k.seg.COW)
			continue
		case origin == cow || origin == k.helper || cow == k.helper:
			v.bad("%s: origin, store and helper must differ", what)
			continue
		case links.helpers[cow.Name] || links.helpers[origin.Name]:
			v.bad("%s: a helper is neither origin nor store", what)
			continue
		}
		if _, ok := links.byCOW[origin.Name]; ok {
			v.bad("%s: its origin %s is itself a snapshot", what, origin.Name)
		}
		if cow.Visible() {
			v.bad("%s: its store %s has the status VISIBLE", what, cow.Name)
		}
		if k.helper.Visible() == k.seg.Merging {
			v.bad("%s: must have the status VISIBLE unless it is being merged", what)
		}
		if k.seg.was == "" && k.seg.Count != origin.Extents() {
			v.bad("%s: has %d extents, its origin %s has %d", what, k.seg.Count, origin.Name, origin.Extents())
		}
		if k.seg.ChunkSize > 0 && v.vg.Size(cow) < minCOWChunks*k.seg.ChunkSize {
			v.bad("%s: its store %s has %d sectors, less than three chunks of %d", what, cow.Name, v.vg.Size(cow), k.seg.ChunkSize)
		}
	}
	for origin, list := range links.byOrigin {
		merging := 0
		for _, k := range list {
			if k.seg.Merging {
				merging++
			}
		}
		if merging > 1 {
			v.bad("volume %s: %d snapshots are being merged into it, one can be", origin, merging)
		}
	}
}

// extents checks that no extent of a physical volume is used twice.
func (v *validator) extents() {
	var last Run
	for _, r := range v.vg.knownRuns() {
		if r.PV == last.PV && r.Start < last.end() {
			v.bad("physical volume %s: extent %d is used twice", r.PV, r.Start)
		}
		if r.PV != last.PV || r.end() > last.end() {
			last = r
		}
	}
}
