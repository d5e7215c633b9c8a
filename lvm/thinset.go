package lvm

import (
	"fmt"
	"slices"

	"cowhand/dmcore"
)

// SetThinPool changes what a pool does with discards, new blocks and writes when
// it is full. Empty and nil values stay as they are. live says that the kernel
// has the pool: whether it heeds discards at all cannot be changed then
// (tools/lvchange.c, _lvchange_pool_update).
func (vg *VG) SetThinPool(name string, discards string, zero, errorWhenFull *bool, live bool) error {
	lv := vg.LV(name)
	if lv == nil {
		return vg.fail(name, "change", ErrNotFound)
	}
	p := lv.ThinPool()
	if p == nil {
		return vg.fail(name, "change", fmt.Errorf("is no thin pool: %w", ErrInvalid))
	}
	if discards != "" {
		if err := CheckDiscards(discards); err != nil {
			return vg.fail(name, "change", err)
		}
		if discards == p.Discards {
			return vg.fail(name, "change", fmt.Errorf("already uses --discards %s: %w", discards, ErrInvalid))
		}
		if live && (discards == DiscardsIgnore || p.Discards == DiscardsIgnore) {
			return vg.fail(name, "change", fmt.Errorf("support for discards cannot be changed while it is active: %w", ErrInUse))
		}
	}
	if zero != nil && *zero == p.Zero {
		return vg.fail(name, "change", fmt.Errorf("new blocks are zeroed: already %t: %w", p.Zero, ErrInvalid))
	}
	if errorWhenFull != nil && *errorWhenFull == slices.Contains(lv.Flags, flagErrorWhenFull) {
		return vg.fail(name, "change", fmt.Errorf("an error when full: already %t: %w", *errorWhenFull, ErrInvalid))
	}
	if discards != "" {
		p.Discards = discards
	}
	if zero != nil {
		p.Zero = *zero
	}
	if errorWhenFull != nil {
		lv.setFlag(flagErrorWhenFull, *errorWhenFull)
	}
	return nil
}

// SetSkipActivation has a volume activated only when that is insisted on.
func (vg *VG) SetSkipActivation(name string, skip bool) error {
	lv := vg.LV(name)
	switch {
	case lv == nil:
		return vg.fail(name, "change", ErrNotFound)
	case !vg.Shown(lv):
		return vg.fail(name, "change", fmt.Errorf("it is hidden: %w", ErrInvalid))
	case lv.SkipsActivation() == skip:
		return vg.fail(name, "change", fmt.Errorf("activation skip: already %t: %w", skip, ErrInvalid))
	}
	lv.setFlag(flagSkipActivation, skip)
	return nil
}

// lvFlagOrder is the order lvm2 prints flags in (lib/format_text/flags.c).
var lvFlagOrder = []string{"WRITE_LOCKED", flagSkipActivation, flagNoAuto, flagErrorWhenFull, "CACHE_VOL"}

// setFlag adds or removes a flag.
func (lv *LV) setFlag(flag string, on bool) {
	lv.Flags = slices.DeleteFunc(slices.Clone(lv.Flags), func(f string) bool { return f == flag })
	if !on {
		return
	}
	rank := slices.Index(lvFlagOrder, flag)
	at := slices.IndexFunc(lv.Flags, func(f string) bool { return slices.Index(lvFlagOrder, f) > rank })
	if at < 0 {
		at = len(lv.Flags)
	}
	lv.Flags = slices.Insert(lv.Flags, at, flag)
}

// Overprovisioned tells people that what the volumes in thin pools may come to
// hold is more than there is room for. name is what was changed: a pool, a volume in
// one, or any other, which takes the room that all pools might grow into
// (lib/metadata/thin_manip.c, pool_check_overprovisioning). size prints a length.
func (vg *VG) Overprovisioned(name string, policy ExtendPolicy, size func(dmcore.Sectors) string) []string {
	links := vg.links()
	sum := func(pools ...*LV) (thins, room Extents) {
		for _, p := range pools {
			room += p.Extents()
			for _, t := range links.thin.volumes[p.Name] {
				thins += t.Extents()
			}
		}
		return thins, room
	}
	pool := vg.LV(name)
	if pool != nil && pool.Thin() != nil {
		pool = vg.LV(pool.Thin().Pool)
	}
	if pool != nil && pool.ThinPool() == nil {
		pool = nil
	}
	if pool != nil {
		if thins, room := sum(pool); thins <= room {
			return nil
		}
	}
	var pools []*LV
	for _, lv := range vg.LVs {
		if lv.ThinPool() != nil {
			pools = append(pools, lv)
		}
	}
	thins, room := sum(pools...)
	if thins <= room {
		return nil
	}
	of, than, have := "s", "", size(vg.Sectors(room))
	if pool != nil && len(pools) == 1 {
		of = " " + vg.Name + "/" + pool.Name
	}
	switch free := vg.FreeExtents(); {
	case vg.TotalExtents() < thins:
		than, have = " and the size of whole volume group", size(vg.Sectors(vg.TotalExtents()))
	case free == 0:
		have = "no free space in volume group"
	case free < thins:
		than, have = " and the amount of free space in volume group", size(vg.Sectors(free))
	case !policy.Never():
		return nil
	}
	lines := []string{fmt.Sprintf("WARNING: Sum of all thin volume sizes (%s) exceeds the size of thin pool%s%s (%s).", size(vg.Sectors(thins)), of, than, have)}
	if policy.Never() {
		lines = append(lines, "WARNING: You have not turned on protection against thin pools running out of space.")
	}
	if policy.Threshold > 99 {
		lines = append(lines, "WARNING: Set activation/thin_pool_autoextend_threshold below 100 to trigger automatic extension of thin pools before they get full.")
	}
	if policy.Amount <= 0 {
		lines = append(lines, "WARNING: Set activation/thin_pool_autoextend_percent above 0 to specify by how much to extend thin pools reaching the threshold.")
	}
	return lines
}
