package lvm

import (
	"context"
	"fmt"
	"slices"
)

// Traits are what any new volume may be like.
type Traits struct {
	NoAuto    bool // not by itself, at boot
	ReadAhead ReadAhead
	Number    *Number // of its device; nil: any
	Policy    string  // where its extents may be; "": as the group says
}

// adopt gives a new volume its traits, which it says nothing of yet.
func (lv *LV) adopt(t Traits) {
	lv.setFlag(flagNoAuto, t.NoAuto)
	lv.ReadAhead = t.ReadAhead
	lv.setNumber(t.Number)
	lv.allocation = t.Policy
}

const flagNoAuto = "NOAUTOACTIVATE"

// AutoActivates reports a volume that is activated by itself, at boot, as far as
// it and its group are concerned; what the host is set to, [VG.AutoExcluded] tells.
func (vg *VG) AutoActivates(lv *LV) bool {
	return !slices.Contains(lv.Flags, flagNoAuto) && !slices.Contains(vg.Flags, flagNoAuto)
}

// SetAutoActivation has a volume be activated by itself or not; the whole group, if
// the name is empty. It tells whether that is a change: of a group it has to be
// one (lvm2 2.03.16, tools/vgchange.c, _vgchange_autoactivation; tools/lvchange.c
// is content).
func (vg *VG) SetAutoActivation(name string, auto bool) (changed bool, err error) {
	if name == "" {
		if slices.Contains(vg.Flags, flagNoAuto) != auto {
			return false, vg.fail("", "change", fmt.Errorf("is activated by itself: already %t: %w", auto, ErrInvalid))
		}
		vg.Flags = slices.DeleteFunc(slices.Clone(vg.Flags), func(f string) bool { return f == flagNoAuto })
		if !auto {
			vg.Flags = append(vg.Flags, flagNoAuto)
		}
		return true, nil
	}
	lv := vg.LV(name)
	switch {
	case lv == nil:
		return false, vg.fail(name, "change", ErrNotFound)
	case !vg.Shown(lv):
		return false, vg.fail(name, "change", fmt.Errorf("it is hidden: %w", ErrInvalid))
	}
	changed = slices.Contains(lv.Flags, flagNoAuto) == auto
	lv.setFlag(flagNoAuto, !auto)
	return changed, nil
}

// SetAutoActivation is [VG.SetAutoActivation], of the group if ref.LV is empty.
func (e *Engine) SetAutoActivation(ctx context.Context, ref Ref, auto bool) error {
	return e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		_, err := groups[ref.VG].SetAutoActivation(ref.LV, auto)
		return edit{}, err
	})
}
