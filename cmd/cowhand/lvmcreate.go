package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// sizeFlags reads -L or -l. A sign is told apart.
func (r *lvmRun) sizeFlags() (s lvm.Size, more bool, err error) {
	a := r.args
	name := "size"
	switch {
	case a.has("size") && a.has("extents"):
		return s, false, usagef("Please specify either size or extents but not both.")
	case a.has("extents"):
		name = "extents"
	case !a.has("size") && r.verb.name == "lvextend" && len(a.words) > 1: // all there is on those
		return lvm.Size{Percent: 100, Of: lvm.OfPVs}, true, nil
	case !a.has("size"):
		return s, false, usagef("Please specify either size or extents.")
	}
	text, more := strings.CutPrefix(a.get(name), "+")
	if err := lvmSign(text, more); err != nil {
		return s, false, err
	}
	if strings.Trim(text, "0.bBsSkKmMgGtTpPeE") == "" && strings.Contains(text, "0") {
		return s, false, usagef("--%s may not be zero", name)
	}
	if name == "size" {
		s, err = lvm.ParseSize(text)
	} else {
		s, err = lvm.ParseExtents(text)
	}
	if err != nil {
		return s, false, r.badSize(text, err)
	}
	return s, more, nil
}

// sectors reads a flag that is a length, in KiB if it bears no unit.
func (r *lvmRun) sectors(name string) (dmcore.Sectors, error) {
	if !r.args.has(name) {
		return 0, nil
	}
	s, err := lvmSize(r.args.get(name), "k")
	if err != nil {
		return 0, lvmValue(name, r.args.get(name))
	}
	return dmcore.Sectors(s.Bytes / dmcore.SectorSize), nil
}

// permission reads -p.
func (r *lvmRun) permission() (readOnly bool, err error) {
	switch v := r.args.get("permission"); v {
	case "r":
		return true, nil
	case "", "rw", "wr":
		return false, nil
	default:
		return false, lvmValue("permission", v)
	}
}

func lvcreate(ctx context.Context, r *lvmRun) error {
	err := r.create(ctx)
	if failed, ok := errors.AsType[*lvm.Error](err); ok && failed.Op == "zero" {
		return lvmSays(err, "Failed to initialize logical volume %s", failed.LV)
	}
	return err
}

// create makes what the command line asks for.
func (r *lvmRun) create(ctx context.Context) error {
	if r.wantsVirtual() {
		return r.createVirtual(ctx)
	}
	a := r.args
	for _, flag := range []string{"cache", "mirrors"} {
		if a.has(flag) && a.get(flag) != "0" {
			return fmt.Errorf("--%s: only linear, striped and thin volumes and snapshots can be made: %w", flag, errors.ErrUnsupported)
		}
	}
	snapshot := a.has("snapshot")
	switch t := a.get("type"); t {
	case "", "linear", "striped", "thin", "thin-pool":
	case "snapshot":
		snapshot = true
	default:
		return fmt.Errorf("--type %s: only linear, striped, snapshot, thin and thin-pool can be made: %w", t, errors.ErrUnsupported)
	}
	if thin, err := r.wantsThin(ctx); err != nil || thin {
		if err != nil {
			return err
		}
		return r.createThin(ctx)
	}
	for _, flag := range []string{"poolmetadatasize", "poolmetadataspare", "discards", "errorwhenfull"} {
		if a.has(flag) {
			return usagef("--%s is only of use when a thin pool is made", flag)
		}
	}
	if on, _ := a.yesNo("setactivationskip", false); on && snapshot {
		return fmt.Errorf("--setactivationskip y: not of a thick snapshot, which is activated with its origin: %w", errors.ErrUnsupported)
	}
	size, _, err := r.sizeFlags() // LVM2 takes a "+" here too
	if err != nil {
		return err
	}
	vg, name := "", a.get("name")
	if strings.Contains(name, "/") {
		ref, err := lvmRef(name, "")
		if err != nil {
			return err
		}
		vg, name = ref.VG, ref.LV
	}
	if name != "" {
		if err := lvmNewName(vg, name); err != nil {
			return err
		}
	}
	if snapshot {
		return r.createSnapshot(ctx, vg, name, size)
	}
	return r.createVolume(ctx, vg, name, size)
}

func (r *lvmRun) createVolume(ctx context.Context, vg, name string, size lvm.Size) error {
	words := r.args.words
	if vg == "" && len(words) == 0 {
		vg = strings.TrimPrefix(os.Getenv("LVM_VG_NAME"), "/dev/")
	}
	if vg == "" {
		if len(words) == 0 {
			return usagef("please provide a volume group name")
		}
		var err error
		if vg, err = lvmGroupName(words[0]); err != nil {
			return usagef("%s", err)
		}
		words = words[1:]
	} else if len(words) > 0 {
		if w, err := lvmGroupName(words[0]); err == nil && w == vg {
			words = words[1:]
		}
	}
	readOnly, err := r.permission()
	if err != nil {
		return err
	}
	active, _, err := r.args.activation(true)
	if err != nil {
		return err
	}
	traits, err := r.traits()
	if err != nil {
		return err
	}
	stripes, stripeSize, err := r.striping()
	if err != nil {
		return err
	}
	e, group, err := r.group(ctx, vg)
	if err != nil {
		return err
	}
	pvs, err := pvNames(group, r.host, words)
	if err != nil {
		return err
	}
	if stripes > 1 && stripeSize == 0 {
		r.say("Using default stripesize 64.00 KiB.")
		stripeSize = lvm.DefaultStripe
	}
	if stripes > 1 && stripeSize > group.ExtentSize {
		r.say("Reducing stripe size %s to maximum, physical extent size %s.", lvmHuman(stripeSize), lvmHuman(group.ExtentSize))
		stripeSize = group.ExtentSize
	}
	spec := lvm.StripedSpec{Stripes: stripes, StripeSize: stripeSize, LinearSpec: lvm.LinearSpec{
		Name: name, Size: size, ReadOnly: readOnly, PVs: pvs, Tags: r.args.tags("addtag"), Traits: traits}}
	if spec.Skip, _ = r.args.yesNo("setactivationskip", false); spec.Skip && !r.args.has("ignoreactivationskip") {
		active = false
	}
	if _, note, err := size.Extents(group, lvm.Basis{PVs: pvs}); err == nil && note != "" {
		r.warn("%s", upperFirst(note))
	}
	zero, err := r.args.yesNo("zero", true)
	if err != nil {
		return err
	}
	spec.NoZero = !zero
	if name, err = e.Create(ctx, vg, spec, active); err != nil {
		return err
	}
	if err := r.tellNotZeroed(ctx, e, lvm.Ref{VG: vg, LV: name}, spec.NoZero); err != nil {
		return err
	}
	if err := r.overprovisioned(ctx, e, lvm.Ref{VG: vg, LV: name}); err != nil {
		return err
	}
	r.say("Logical volume %q created.", name)
	return nil
}

// tellNotZeroed tells that a new volume may show what lay there before.
func (r *lvmRun) tellNotZeroed(ctx context.Context, e *lvm.Engine, ref lvm.Ref, wished bool) error {
	vg, err := e.Group(ctx, ref.VG)
	if err != nil {
		return err
	}
	switch lv := vg.LV(ref.LV); {
	case lv == nil:
	case wished:
		r.warn("WARNING: Logical volume %s not zeroed.", ref)
	case vg.ReadOnlyHere(lv):
		r.warn("WARNING: Read-only activated logical volume %s not zeroed.", ref)
	}
	return nil
}

func (r *lvmRun) createSnapshot(ctx context.Context, vg, name string, size lvm.Size) error {
	if len(r.args.words) == 0 {
		return usagef("please specify the origin of the snapshot")
	}
	origin, err := lvmRef(r.args.words[0], vg)
	if err != nil {
		return err
	}
	if vg != "" && vg != origin.VG {
		return usagef("snapshot in %s, origin in %s: want one volume group", vg, origin.VG)
	}
	if r.args.has("stripes") && r.args.get("stripes") != "1" {
		return fmt.Errorf("%s: a striped snapshot: %w", origin, errors.ErrUnsupported)
	}
	readOnly, err := r.permission()
	if err != nil {
		return err
	}
	traits, err := r.traits()
	if err != nil {
		return err
	}
	chunk, err := r.sectors("chunksize")
	if err != nil {
		return err
	}
	if chunk != 0 {
		if err := lvm.CheckChunk(chunk); err != nil {
			return usagef("%s", err)
		}
	}
	active, _, err := r.args.activation(true)
	if err != nil {
		return err
	}
	e, group, err := r.group(ctx, origin.VG)
	if err != nil {
		return err
	}
	pvs, err := pvNames(group, r.host, r.args.words[1:])
	if err != nil {
		return err
	}
	req := lvm.SnapshotRequest{Origin: origin, Name: name, Size: size, Chunk: chunk, ReadOnly: readOnly, Tags: r.args.tags("addtag"), PVs: pvs, Traits: traits}
	_, notes, err := group.SnapshotExtents(req.Spec())
	if err != nil {
		return err
	}
	if req.Name == "" { // what it will be called, to say it
		cows, err := group.Clone().AddSnapshots([]lvm.SnapshotSpec{req.Spec()})
		if err != nil {
			return err
		}
		req.Name = cows[0].Name
	}
	states, err := e.States(ctx, group)
	if err != nil {
		return err
	}
	if states[origin.LV].Active && !active {
		return usagef("%s is active, and so would be its snapshot: -an is not possible", origin)
	}
	for _, n := range notes {
		r.warn("%s", upperFirst(n))
	}
	if err := e.Snapshot(ctx, []lvm.SnapshotRequest{req}); err != nil {
		return err
	}
	if active && !states[origin.LV].Active {
		if err := e.Activate(ctx, origin); err != nil {
			return err
		}
	}
	if err := r.overprovisioned(ctx, e, lvm.Ref{VG: origin.VG, LV: req.Name}); err != nil {
		return err
	}
	r.say("Logical volume %q created.", req.Name)
	return nil
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}
