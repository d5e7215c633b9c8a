package lvm

import (
	"slices"
	"strings"

	"cowhand/dmcore"
)

// LVState is what the device mapper tells of a volume's own device.
type LVState struct {
	Known    bool                   // the device mapper was asked
	Exists   bool                   // there is such a device
	Info     dmcore.Info            // if it exists
	Snapshot *dmcore.SnapshotStatus // of a snapshot, or of an origin that is being merged into
	Thin     *ThinState             // of a thin pool or a thin volume
}

// SegType is the type of the volume's segments as lvs names it: the first one's,
// "linear" for one stripe.
func (lv *LV) SegType() string {
	if len(lv.Segments) == 0 {
		return ""
	}
	s := lv.Segments[0]
	if s.striped() && len(s.Stripes) == 1 {
		return typeLinear
	}
	return strings.TrimSuffix(s.Type, flagCrop)
}

// DataPercent is how full a snapshot or thin pool is, how much of a thin volume is
// mapped or, of an origin, how much is still to be merged into it; ok is false
// where lvs prints nothing.
func (st LVState) DataPercent() (percent float64, ok bool) {
	if st.Snapshot == nil {
		return st.Thin.DataPercent()
	}
	if st.Snapshot.State == dmcore.MergeFailed {
		return 0, false
	}
	return st.Snapshot.Percent(), true
}

// Attr is the volume's ten characters lv_attr (lvm2 2.03.16, lib/metadata/lv.c,
// lv_attr_dup; man lvs): type, permission, allocation, fixed minor, state, open,
// target, zeroing, health, skipped activation. Of types this package does not
// map only the common ones are told apart.
func (vg *VG) Attr(lv *LV, st LVState) string { return vg.attr(vg.links(), lv, st) }

// Attrs is Attr of every volume, by name, in one pass.
func (vg *VG) Attrs(states map[string]LVState) map[string]string {
	links := vg.links()
	attrs := make(map[string]string, len(vg.LVs))
	for _, lv := range vg.LVs {
		attrs[lv.Name] = vg.attr(links, lv, states[lv.Name])
	}
	return attrs
}

func (vg *VG) attr(links *links, lv *LV, st LVState) string {
	k, isCOW := links.byCOW[lv.Name]
	isOrigin := len(links.byOrigin[lv.Name]) > 0
	_, intoIt := links.merging(lv.Name)
	thinOrigin := len(links.thin.external[lv.Name]) > 0
	thinInto := links.thin.merge[lv.Name] != nil

	a := []byte("----------")
	a[0] = vg.attrType(lv, links)
	switch {
	case (isOrigin || thinOrigin) && (intoIt || thinInto):
		a[0] = 'O'
	case isOrigin || thinOrigin:
		a[0] = 'o'
	case isCOW && k.seg.Merging:
		a[0] = 'S'
	case isCOW:
		a[0] = 's'
	}
	if a[6] = attrTarget(lv); (isOrigin || isCOW) && strings.IndexByte("-uv", a[6]) >= 0 {
		a[6] = 's'
	}
	a[1] = 'r'
	if lv.Writable() && !thinOrigin {
		a[1] = 'w'
	}
	a[2] = policyLetter(lv.Policy())
	if slices.Contains(lv.Status, "LOCKED") {
		a[2] = strings.ToUpper(string(a[2]))[0]
	}
	if slices.Contains(lv.Status, "FIXED_MINOR") {
		a[3] = 'm'
	}
	switch {
	case !st.Known:
		a[4], a[5] = 'X', 'X'
	case st.Exists:
		a[4] = attrState(st, isCOW)
		if st.Info.OpenCount > 0 {
			a[5] = 'o'
		}
		if st.Info.ReadOnly && a[1] == 'w' {
			a[1] = 'R'
		}
	}
	if vg.zeroes(lv) {
		a[7] = 'z'
	}
	a[8] = vg.attrHealth(lv, links, st)
	if lv.SkipsActivation() {
		a[9] = 'k'
	}
	return string(a)
}

func attrState(st LVState, snapshot bool) byte {
	c := byte('d')
	switch {
	case st.Info.Suspended:
		c = 's'
	case st.Info.Live:
		c = 'a'
	case st.Info.Inactive:
		c = 'i'
	}
	if st.Thin != nil && st.Thin.Pool != nil && st.Thin.Pool.NeedsCheck {
		if st.Info.Suspended {
			return 'C'
		}
		return 'c'
	}
	if !st.Info.Live || st.Snapshot == nil {
		return c
	}
	switch {
	case st.Snapshot.State == dmcore.MergeFailed:
		c = 'm'
	case snapshot && st.Snapshot.State != dmcore.SnapshotOK:
		c = 'I'
	default:
		return c
	}
	if st.Info.Suspended {
		c -= 'a' - 'A'
		if st.Snapshot.State != dmcore.MergeFailed {
			c = 'S'
		}
	}
	return c
}

// attrHealth is what is wrong with a volume, as far as it is told.
func (vg *VG) attrHealth(lv *LV, links *links, st LVState) byte {
	partial := vg.missing(lv) != nil
	if lv.Thin() != nil || lv.ThinPool() != nil {
		below, _ := vg.stack(lv, links)
		partial = slices.ContainsFunc(below, func(lv *LV) bool { return vg.missing(lv) != nil })
	}
	switch {
	case partial:
		return 'p'
	case st.Thin.failed():
		return 'F'
	case st.Thin == nil || st.Thin.Pool == nil:
		return '-'
	case st.Thin.Pool.Mode == dmcore.ThinPoolOutOfDataSpace:
		return 'D'
	case st.Thin.Pool.Mode == dmcore.ThinPoolReadOnly:
		return 'M'
	}
	return '-'
}

// attrType is the type of a volume that is neither origin nor thick snapshot.
func (vg *VG) attrType(lv *LV, links *links) byte {
	hidden := !lv.Visible()
	own := links.own(lv)
	switch {
	case slices.Contains(lv.Status, "PVMOVE"):
		return 'p'
	case own == layerTMeta:
		return 'e'
	case own == layerTData:
		return 'T'
	case links.thin.merge[lv.Name] != nil:
		return 'O'
	case lv.Thin() != nil && lv.Thin().Merge != "":
		return 'S'
	case hidden && (strings.HasSuffix(lv.Name, "_tmeta") || strings.HasSuffix(lv.Name, "_cmeta") || strings.Contains(lv.Name, "_pmspare")):
		return 'e'
	case hidden && strings.HasSuffix(lv.Name, "_tdata"):
		return 'T'
	}
	switch t := lv.SegType(); {
	case t == "thin":
		return 'V'
	case t == "thin-pool":
		return 't'
	case t == "cache" || t == "cache-pool" || t == "writecache":
		return 'C'
	case strings.HasPrefix(t, "raid"):
		return 'r'
	case t == "mirror":
		return 'm'
	case t == "zero" || t == "error":
		return 'v'
	}
	return '-'
}

func attrTarget(lv *LV) byte {
	switch t := lv.SegType(); {
	case t == typeLinear || t == typeStriped || t == typeSnapshot:
		return '-'
	case strings.HasPrefix(t, "thin"):
		return 't'
	case strings.HasPrefix(t, "cache") || t == "writecache":
		return 'C'
	case strings.HasPrefix(t, "raid"):
		return 'r'
	case t == "mirror":
		return 'm'
	case t == "zero" || t == "error":
		return 'v'
	}
	return 'u'
}

// zeroes reports a thin pool, or a volume in one, whose new blocks are zeroed.
func (vg *VG) zeroes(lv *LV) bool {
	if t := lv.Thin(); t != nil {
		if lv = vg.LV(t.Pool); lv == nil {
			return false
		}
	}
	p := lv.ThinPool()
	return p != nil && p.Zero
}
