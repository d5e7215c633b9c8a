package main

import (
	"errors"
	"fmt"
	"slices"

	"cowhand/lvm"
)

// skipped tells a volume that is not to be activated: flagged to be left alone,
// unless -K is given, or with -ay a by itself. A person is told why.
func (r *lvmRun) skipped(vg *lvm.VG, lv *lvm.LV, auto bool) bool {
	why := ""
	switch {
	case slices.Contains(lv.Flags, "ACTIVATION_SKIP") && !r.args.has("ignoreactivationskip"):
		why = "it is flagged to be skipped; -K activates it"
	case auto && !vg.AutoActivates(lv):
		why = "it, or its group, is flagged not to be activated automatically"
	case auto && vg.AutoExcluded(lv):
		why = "activation/auto_activation_volume_list does not name it"
	default:
		return false
	}
	r.warn("Not activating %s/%s: %s.", vg.Name, lv.Name, why)
	return true
}

// wholeOnly refuses to activate what there is of a volume whose rest is missing:
// the hole could not be told from what was there. (--activationmode partial is no
// value that is taken.)
func (r *lvmRun) wholeOnly(on bool) error {
	if on && r.args.has("partial") {
		return fmt.Errorf("--partial: volumes with a missing part are lvm2's to activate: %w", errors.ErrUnsupported)
	}
	return nil
}

// newSystemID is that of a group to be made: --systemid, even if it is empty, or
// this host's.
func (r *lvmRun) newSystemID(e *lvm.Engine) string {
	if r.args.has("systemid") || len(e.Store.SystemIDs) == 0 {
		return r.args.get("systemid")
	}
	return e.Store.SystemIDs[0]
}

// reveals tells whether a report shows a group that may not be used: an exported
// one if it is about groups or devices, another host's or one that is shared if it
// is asked to (lvm2 2.03.16, tools/commands.h and tools/toollib.c, _ignore_vg).
func (r *lvmRun) reveals(err error) bool {
	switch {
	case errors.Is(err, lvm.ErrExported):
		return slices.Contains([]string{"vgs", "vgdisplay", "pvs", "pvdisplay"}, r.verb.name)
	case errors.Is(err, lvm.ErrShared):
		return r.args.has("shared")
	case errors.Is(err, lvm.ErrForeign):
		return r.args.has("foreign")
	}
	return false
}

// hide leaves the physical volumes of a group out.
func (l *lvmLook) hide(vg *lvm.VG) {
	l.pvs = slices.DeleteFunc(l.pvs, func(v lvm.Volume) bool { return vg.PVByID(v.ID) != nil })
}
