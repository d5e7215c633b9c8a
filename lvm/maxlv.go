package lvm

import (
	"context"
	"fmt"
)

// checkCount reports that the group may not have so many volumes more.
func (vg *VG) checkCount(more int) error {
	if shown := len(vg.ShownLVs()); vg.MaxLV > 0 && shown+more > vg.MaxLV {
		return vg.fail("", "", fmt.Errorf("%d volumes and %d more, at most %d are allowed: %w", shown, more, vg.MaxLV, ErrNoSpace))
	}
	return nil
}

// SetMaxLV limits how many volumes the group may have; 0 is no limit
// (lvm2 2.03.16, lib/metadata/vg.c, vg_set_max_lv).
func (vg *VG) SetMaxLV(most int) error {
	if shown := len(vg.ShownLVs()); most < 0 || most > 0 && most < shown {
		return vg.fail("", "change", fmt.Errorf("at most %d volumes, but there are %d: %w", most, shown, ErrInvalid))
	}
	vg.MaxLV = most
	return nil
}

// SetMaxLV is [VG.SetMaxLV].
func (e *Engine) SetMaxLV(ctx context.Context, vg string, most int) error {
	return e.change(ctx, []string{vg}, func(groups map[string]*VG) (edit, error) {
		return edit{}, groups[vg].SetMaxLV(most)
	})
}
