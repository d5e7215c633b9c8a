package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"cowhand/dmcore"
	"cowhand/dmcore/kernel"
	"cowhand/lvm"
)

// deviceNumber reads -M, --minor and --major (lvm2 2.03.16, tools/toollib.c,
// get_and_validate_major_minor). The major number is the kernel's to choose.
func (r *lvmRun) deviceNumber() (*lvm.Number, error) {
	a := r.args
	fixed, err := a.yesNo("persistent", true)
	switch {
	case err != nil:
		return nil, err
	case !fixed && (a.has("minor") || a.has("major")):
		return nil, fmt.Errorf("--major and --minor are incompatible with -Mn: %w", lvm.ErrInvalid)
	case !fixed:
		return nil, nil
	case len(a.all("minor")) > 1 || len(a.all("major")) > 1:
		return nil, fmt.Errorf("--major and --minor may be given once: %w", lvm.ErrInvalid)
	case a.has("persistent") && !a.has("minor"):
		return nil, fmt.Errorf("please specify minor number with --minor when using -My: %w", lvm.ErrInvalid)
	}
	n := &lvm.Number{}
	if major, err := kernel.Major(); err == nil { // lvm2 takes 0 where there is no device mapper
		n.Major = int32(major)
	}
	if a.has("major") {
		if _, err := strconv.ParseUint(a.get("major"), 10, 31); err != nil {
			return nil, lvmValue("major", a.get("major"))
		}
		r.warn("WARNING: Ignoring supplied major number %s - kernel assigns major numbers dynamically. Using major number %d instead.", a.get("major"), n.Major)
	}
	if !a.has("minor") {
		return nil, nil
	}
	minor, err := strconv.ParseUint(a.get("minor"), 10, 31)
	if err != nil {
		return nil, lvmValue("minor", a.get("minor"))
	}
	n.Minor = int32(minor)
	return n, n.Check()
}

// changeNumber gives a volume another number, or any. Its device keeps the one it
// has, and so has to go meanwhile.
func (r *lvmRun) changeNumber(ctx context.Context, e *lvm.Engine, ref lvm.Ref) error {
	n, err := r.deviceNumber()
	if err != nil {
		return err
	}
	vg, err := e.Group(ctx, ref.VG)
	if err != nil {
		return err
	}
	states, err := e.States(ctx, vg)
	if err != nil {
		return err
	}
	if lv := vg.LV(ref.LV); n == nil || !states[ref.LV].Active || lv.ThinPool() != nil {
		return e.SetNumber(ctx, ref, n)
	}
	if err := r.agreed(fmt.Sprintf("Logical volume %s will be deactivated temporarily. Continue?", ref)); err != nil {
		return err
	}
	if err := e.Deactivate(ctx, ref); err != nil {
		return err
	}
	return errors.Join(e.SetNumber(ctx, ref, n), e.Activate(ctx, ref))
}

// readAhead reads -r: auto, none or a length, in sectors if it bears no unit
// (tools/lvmcmdline.c, readahead_arg), in whole pages.
func (r *lvmRun) readAhead() (lvm.ReadAhead, error) {
	switch v := strings.ToLower(r.args.get("readahead")); v {
	case "", "auto":
		return lvm.ReadAheadAuto, nil
	case "none", "0":
		return lvm.ReadAheadNone, nil
	default:
		s, err := lvmSize(v, "s")
		if err != nil || s.Bytes/dmcore.SectorSize > 1<<31-1 {
			return 0, lvmValue("readahead", v)
		}
		n, page := lvm.ReadAhead(s.Bytes/dmcore.SectorSize), lvm.ReadAhead(os.Getpagesize()/dmcore.SectorSize)
		if n%page != 0 {
			n = max(n/page, 1) * page
			r.warn("WARNING: Overriding readahead to %d sectors, a multiple of %dK page size.", n, page/2)
		}
		return n, nil
	}
}

// policy reads -C and --alloc.
func (r *lvmRun) policy() (string, error) {
	contiguous, err := r.args.yesNo("contiguous", false)
	if err != nil || contiguous {
		return "contiguous", err
	}
	policy := r.args.get("alloc")
	if policy != "" && lvm.CheckPolicy(policy) != nil {
		return "", lvmValue("alloc", policy)
	}
	return policy, nil
}

// traits reads how a new volume is to be activated.
func (r *lvmRun) traits() (t lvm.Traits, err error) {
	auto, err1 := r.args.yesNo("setautoactivation", true)
	ahead, err2 := r.readAhead()
	number, err3 := r.deviceNumber()
	policy, err4 := r.policy()
	return lvm.Traits{NoAuto: !auto, ReadAhead: ahead, Number: number, Policy: policy}, errors.Join(err1, err2, err3, err4)
}

func readAheadSectors(lv *lvm.LV) dmcore.Sectors { return dmcore.Sectors(max(lv.ReadAhead, 0)) }

// kernelReadAhead is what the volume's device has; ok is false if it has none.
func (r *lvmRow) kernelReadAhead() (n dmcore.Sectors, ok bool) {
	if !r.state.Exists || r.state.Info.Dev.Major == kernelOwn {
		return 0, false
	}
	n, err := kernel.ReadAhead(r.state.Info.Dev)
	return n, err == nil
}

func sizeCell(r *lvmRow, n uint64) lvmCell {
	return lvmCell{text: r.units.String(n), number: float64(n), isNum: true}
}
