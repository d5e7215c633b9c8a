package lvm

import (
	"context"
	"fmt"
	"math"
	"slices"

	"cowhand/lvm/lvmtext"
)

const statusFixedMinor = "FIXED_MINOR"

// Number is the device number that a volume asks for. The kernel of today chooses
// the major number itself; what is asked for is kept for reports.
type Number struct {
	Major int32 // -1: not said
	Minor int32
}

// maxMinor is the highest minor number (include/linux/kdev_t.h, MINORBITS).
const maxMinor = 1<<20 - 1

func (r *reader) deviceNumber(status []string) *Number {
	if !slices.Contains(status, statusFixedMinor) {
		return nil
	}
	n := &Number{Major: -1, Minor: int32(r.number("minor", math.MaxInt32, true))}
	if _, ok := r.s.Get("major"); ok {
		n.Major = int32(r.number("major", math.MaxInt32, true))
	}
	return n
}

// printNumber prints where lvm2 does, before the count of segments
// (lib/format_text/export.c, _print_lv).
func printNumber(s *lvmtext.Section, n *Number) {
	set := func(key string, v int32, on bool) {
		switch old, ok := s.Get(key); {
		case !on:
			s.Delete(key)
		case !ok || !old.Equal(lvmtext.Int(int64(v))):
			setBehind(s, append([]string{"major", "read_ahead"}, beforeReadAhead...), key, lvmtext.Int(int64(v)))
		}
	}
	if n == nil {
		s.Delete("major")
		s.Delete("minor")
		return
	}
	set("major", n.Major, n.Major >= 0)
	set("minor", n.Minor, true)
}

// setNumber fixes the number of a volume's device, or has it be any (nil).
func (lv *LV) setNumber(n *Number) {
	lv.Number = n
	lv.setStatus(statusFixedMinor, n != nil)
}

// SetNumber gives the volume's device a minor number that stays, or any (nil). It
// must not be active, for its device keeps the number that it has
// (lvm2 2.03.16, tools/lvchange.c, _lvchange_persistent).
func (vg *VG) SetNumber(name string, n *Number) error {
	lv := vg.LV(name)
	switch {
	case lv == nil:
		return vg.fail(name, "device number", ErrNotFound)
	case !vg.Shown(lv):
		return vg.fail(name, "device number", fmt.Errorf("it is hidden: %w", ErrInvalid))
	case lv.ThinPool() != nil:
		return vg.fail(name, "device number", fmt.Errorf("a thin pool has no number of its own: %w", ErrInvalid))
	case n == nil && lv.Number == nil:
		return vg.fail(name, "device number", fmt.Errorf("is not fixed: %w", ErrInvalid))
	}
	if err := n.Check(); err != nil {
		return vg.fail(name, "device number", err)
	}
	lv.setNumber(n)
	return nil
}

// Check reports a number that no device can have; nil is none.
func (n *Number) Check() error {
	if n != nil && (n.Minor < 0 || n.Minor > maxMinor) {
		return fmt.Errorf("minor %d: want 0 to %d: %w", n.Minor, maxMinor, ErrInvalid)
	}
	return nil
}

// SetNumber is [VG.SetNumber] of a volume that is not active.
func (e *Engine) SetNumber(ctx context.Context, ref Ref, n *Number) error {
	return e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		vg := groups[ref.VG]
		if lv := vg.LV(ref.LV); lv != nil && n != nil {
			devs, err := e.look(ctx)
			if err != nil {
				return edit{}, err
			}
			if devs.active(vg, lv) {
				return edit{}, vg.fail(ref.LV, "device number", fmt.Errorf("is active, deactivate it first: %w", ErrInUse))
			}
		}
		return edit{}, vg.SetNumber(ref.LV, n)
	})
}
