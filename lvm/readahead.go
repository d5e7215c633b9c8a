package lvm

import (
	"context"
	"fmt"

	"cowhand/dmcore"
	"cowhand/lvm/lvmtext"
)

// ReadAhead is how many sectors are read in advance for who reads a volume from one
// end to the other.
type ReadAhead int64

const (
	// ReadAheadAuto is what the kernel chooses, but twice a row of stripes, or what
	// the devices below have, at least.
	ReadAheadAuto ReadAhead = 0
	ReadAheadNone ReadAhead = -1
)

// maxReadAhead is the most that metadata can hold.
const maxReadAhead = 1<<31 - 1

// readAhead reads what a volume says; not to say anything is to leave it to the
// kernel (lvm2 2.03.16, lib/format_text/import_vsn1.c, _read_lvnames).
func (r *reader) readAhead() ReadAhead {
	v, ok := r.s.Get("read_ahead")
	if !ok {
		return ReadAheadAuto
	}
	n, ok := v.Int()
	if !ok || n < int64(ReadAheadNone) || n > maxReadAhead {
		r.fail("read_ahead is %s, want -1 to %d", v.Raw(), int64(maxReadAhead))
	}
	return ReadAhead(n)
}

// beforeReadAhead are the keys that lvm2 prints before it, from the last on
// (lib/format_text/export.c, _print_lv).
var beforeReadAhead = []string{"profile", "allocation_policy", "lock_args", "creation_host", "creation_time", "tags", "flags", "status"}

func printReadAhead(s *lvmtext.Section, a ReadAhead) {
	v, ok := s.Get("read_ahead")
	now, _ := v.Int()
	switch {
	case !ok && a == ReadAheadAuto, ok && ReadAhead(now) == a:
	case a == ReadAheadAuto:
		s.Delete("read_ahead")
	default:
		setBehind(s, beforeReadAhead, "read_ahead", lvmtext.Int(int64(a)))
	}
}

// row is the longest row of stripes of a volume.
func (lv *LV) row() dmcore.Sectors {
	var most dmcore.Sectors
	for _, s := range lv.Segments {
		if len(s.Stripes) > 1 {
			most = max(most, s.StripeSize*dmcore.Sectors(len(s.Stripes)))
		}
	}
	return most
}

// SetReadAhead changes how much is read in advance.
func (vg *VG) SetReadAhead(name string, a ReadAhead) error {
	lv := vg.LV(name)
	switch {
	case lv == nil:
		return vg.fail(name, "read ahead", ErrNotFound)
	case !vg.Shown(lv):
		return vg.fail(name, "read ahead", fmt.Errorf("it is hidden: %w", ErrInvalid))
	case lv.ReadAhead == a:
		return vg.fail(name, "read ahead", fmt.Errorf("already %s: %w", a, ErrInvalid))
	case a < ReadAheadNone || a > maxReadAhead:
		return vg.fail(name, "read ahead", fmt.Errorf("%d sectors, at most %d: %w", int64(a), int64(maxReadAhead), ErrInvalid))
	}
	lv.ReadAhead = a
	return nil
}

func (a ReadAhead) String() string {
	switch a {
	case ReadAheadAuto:
		return "auto"
	case ReadAheadNone:
		return "none"
	}
	return HumanSize(dmcore.Sectors(a))
}

// SetReadAhead is [VG.SetReadAhead], also of devices that are live.
func (e *Engine) SetReadAhead(ctx context.Context, ref Ref, a ReadAhead) error {
	return e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		vg := groups[ref.VG]
		if err := vg.SetReadAhead(ref.LV, a); err != nil {
			return edit{}, err
		}
		ed, err := e.unitsAround(ctx, groups, ref)
		ed.readAhead = true
		return ed, err
	})
}

// ReadAheads is what tells and changes how much the kernel reads in advance.
type ReadAheads interface {
	ReadAhead(dmcore.DevNo) (dmcore.Sectors, error)
	SetReadAhead(dmcore.DevNo, dmcore.Sectors) error
}

// setReadAheads does so for devices that got a table, in order
// (lib/activate/dev_manager.c, _add_new_lv_to_dtree; libdm/libdm-common.c,
// _set_dev_node_read_ahead). What it cannot do is no reason to take anything back.
func (d *devices) setReadAheads(acts []Activation) {
	if d.e.ReadAheads == nil {
		return
	}
	for _, a := range acts {
		if n, ok := d.number[a.UUID]; ok {
			if err := d.setReadAhead(n, a); err != nil {
				d.e.warn(fmt.Errorf("device %s: read ahead: %w", a.Name, err))
			}
		}
	}
}

func (d *devices) setReadAhead(dev dmcore.DevNo, a Activation) error {
	switch want := a.ReadAhead; {
	case want == ReadAheadNone:
		return d.e.ReadAheads.SetReadAhead(dev, 0)
	case want != ReadAheadAuto:
		return d.e.ReadAheads.SetReadAhead(dev, dmcore.Sectors(want))
	}
	least := 2 * a.row
	if least == 0 {
		t, err := a.Table.Resolve(d.resolve)
		if err != nil {
			return err
		}
		for _, ref := range t.Devs() {
			below, ok := ref.Number()
			if !ok {
				continue
			}
			n, err := d.e.ReadAheads.ReadAhead(below)
			if err != nil {
				return err
			}
			least = max(least, n)
		}
	}
	now, err := d.e.ReadAheads.ReadAhead(dev)
	if err != nil || now >= least {
		return err
	}
	return d.e.ReadAheads.SetReadAhead(dev, least)
}
