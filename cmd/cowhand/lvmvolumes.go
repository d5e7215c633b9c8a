package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"cowhand/dmcore"
	"cowhand/lvm"
)

func lvmVolumeVerbs() []lvmVerb {
	return []lvmVerb{
		{"lvcreate", "make a volume or a snapshot",
			"-L SIZE|-l EXTENTS|N%FREE [-n NAME] [-i STRIPES [-I SIZE]] VG [PATH...]\n-s -L SIZE|-l N%ORIGIN [-c CHUNK] [-n NAME] VG/ORIGIN",
			`size|L: extents|l: name|n: snapshot|s stripes|i: stripesize|I: chunksize|c: permission|p: addtag: activate|a:
			zero|Z: wipesignatures|W: setactivationskip|k: ignoreactivationskip|K contiguous|C: alloc: readahead|r: persistent|M: minor: major|j:
			type: mirrors|m: thin|T thinpool: virtualsize|V: cache|H setautoactivation: nosync`, lvcreate},
		{"lvremove", "remove volumes", "VG|VG/LV|@TAG...", "noudevsync nohistory select|S:", lvremove},
		{"lvchange", "activate or deactivate volumes, change tags or permission", "-a y|n VG|VG/LV|@TAG...\n--addtag|--deltag TAG VG/LV...\n-p r|rw VG/LV...\n--refresh VG/LV...",
			"activate|a: addtag: deltag: permission|p: refresh ignoreactivationskip|K partial|P poll: activationmode: select|S:", lvchange},
		{"lvrename", "give a volume another name", "VG OLD NEW\nVG/OLD NEW", "", lvrename},
		{"lvextend", "make a volume, or the store of a snapshot, longer", "-L [+]SIZE|-l [+]EXTENTS|N%FREE VG/LV [PATH...]",
			"size|L: extents|l: alloc: nofsck resizefs|r stripes|i: stripesize|I: poolmetadatasize: use-policies", lvextend},
	}
}

// sizeFlags reads -L or -l. A sign is told apart.
func (r *lvmRun) sizeFlags() (s lvm.Size, more bool, err error) {
	a := r.args
	name := "size"
	switch {
	case a.has("size") && a.has("extents"):
		return s, false, usagef("please specify either size or extents (not both)")
	case a.has("extents"):
		name = "extents"
	case !a.has("size"):
		return s, false, usagef("please specify either size or extents")
	}
	text, more := strings.CutPrefix(a.get(name), "+")
	if strings.HasPrefix(text, "-") {
		return s, false, usagef("--%s may not be negative", name)
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
		return s, false, usagef("%s", err)
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
	a := r.args
	for _, flag := range []string{"thin", "thinpool", "virtualsize", "cache", "mirrors"} {
		if a.has(flag) && a.get(flag) != "0" {
			return fmt.Errorf("--%s: only linear and striped volumes and thick snapshots can be made: %w", flag, errors.ErrUnsupported)
		}
	}
	snapshot := a.has("snapshot")
	switch t := a.get("type"); t {
	case "", "linear", "striped":
	case "snapshot":
		snapshot = true
	default:
		return fmt.Errorf("--type %s: only linear, striped and snapshot can be made: %w", t, errors.ErrUnsupported)
	}
	size, more, err := r.sizeFlags()
	if err != nil {
		return err
	}
	if more {
		return usagef("a new volume has no size to add to")
	}
	vg, name := "", a.get("name")
	if strings.Contains(name, "/") {
		ref, err := lvmRef(name, "")
		if err != nil {
			return err
		}
		vg, name = ref.VG, ref.LV
	}
	for _, tag := range a.all("addtag") {
		if err := lvm.CheckTag(tag); err != nil {
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
			return err
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
	stripes, err := r.args.number("stripes", 1, 1, 128)
	if err != nil {
		return err
	}
	stripeSize, err := r.sectors("stripesize")
	if err != nil {
		return err
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	group, err := e.Group(ctx, vg)
	if err != nil {
		return err
	}
	pvs, err := pvNames(group, r.host, words)
	if err != nil {
		return err
	}
	if stripes > 1 && stripeSize == 0 {
		r.say("Using default stripesize 64.00 KiB.")
	}
	if stripes == 1 && stripeSize != 0 {
		r.warn("Ignoring stripesize argument with single stripe.")
	}
	spec := lvm.StripedSpec{Stripes: stripes, StripeSize: stripeSize, LinearSpec: lvm.LinearSpec{
		Name: name, Size: size, ReadOnly: readOnly, PVs: pvs, Tags: r.args.all("addtag")}}
	if _, note, err := size.Extents(group, lvm.Basis{PVs: pvs}); err == nil && note != "" {
		r.warn("%s", upperFirst(note))
	}
	if name, err = e.Create(ctx, vg, spec, active); err != nil {
		return err
	}
	r.say("Logical volume %q created.", name)
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
	if len(r.args.words) > 1 {
		return fmt.Errorf("%s: physical volumes for a snapshot cannot be chosen: %w", origin, errors.ErrUnsupported)
	}
	if r.args.has("stripes") && r.args.get("stripes") != "1" {
		return fmt.Errorf("%s: a striped snapshot: %w", origin, errors.ErrUnsupported)
	}
	readOnly, err := r.permission()
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
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	group, err := e.Group(ctx, origin.VG)
	if err != nil {
		return err
	}
	req := lvm.SnapshotRequest{Origin: origin, Name: name, Size: size, Chunk: chunk, ReadOnly: readOnly, Tags: r.args.all("addtag")}
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
	r.say("Logical volume %q created.", req.Name)
	return nil
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func lvremove(ctx context.Context, r *lvmRun) error {
	if len(r.args.words) == 0 {
		return usagef("please enter one or more logical volume paths")
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	found, err := lvmVolumes(ctx, e, r.args.words)
	if err != nil {
		return err
	}
	for _, f := range found {
		states, err := e.States(ctx, f.vg)
		if err != nil {
			return err
		}
		named := func(lv *lvm.LV) bool {
			return slices.ContainsFunc(f.lvs, func(l *lvm.LV) bool { return l.Name == lv.Name })
		}
		for _, lv := range f.lvs {
			if snaps := f.vg.Snapshots(lv.Name); len(snaps) > 0 && !allOf(snaps, named) {
				if err := r.agreed(fmt.Sprintf("Removing origin %s/%s will also remove %d snapshots(s). Proceed?", f.vg.Name, lv.Name, len(snaps))); err != nil {
					return err
				}
				continue
			}
			kind := ""
			if states[lv.Name].Active {
				kind = "active "
			}
			if err := r.agreed(fmt.Sprintf("Do you really want to remove %slogical volume %s/%s?", kind, f.vg.Name, lv.Name)); err != nil {
				return err
			}
		}
	}
	var errs []error
	for _, f := range found {
		errs = append(errs, r.removeSome(ctx, e, removals(f)))
	}
	return errors.Join(errs...)
}

func allOf(lvs []*lvm.LV, is func(*lvm.LV) bool) bool {
	for _, lv := range lvs {
		if !is(lv) {
			return false
		}
	}
	return true
}

// removal is what goes together: a volume, or an origin with its snapshots.
type removal []lvm.Ref

// removals sorts volumes into what goes together.
func removals(f lvmFound) []removal {
	var list []removal
	taken := map[string]bool{}
	add := func(lvs ...*lvm.LV) {
		var one removal
		for _, lv := range lvs {
			if !taken[lv.Name] {
				taken[lv.Name] = true
				one = append(one, lvm.Ref{VG: f.vg.Name, LV: lv.Name})
			}
		}
		if len(one) > 0 {
			list = append(list, one)
		}
	}
	for _, lv := range f.lvs { // origins first: a snapshot may be named beside its own
		if snaps := f.vg.Snapshots(lv.Name); len(snaps) > 0 {
			add(append(snaps, lv)...)
		}
	}
	for _, lv := range f.lvs {
		add(lv)
	}
	return list
}

// removeAtOnce removes all or none.
func (r *lvmRun) removeAtOnce(ctx context.Context, e *lvm.Engine, list ...removal) error {
	refs := slices.Concat(list...)
	if len(refs) == 0 {
		return nil
	}
	if err := e.Remove(ctx, refs); err != nil {
		return err
	}
	for _, ref := range refs {
		r.say("Logical volume %q successfully removed.", ref.LV)
	}
	return nil
}

// removeSome removes all in one change or, if that cannot be, what can go.
func (r *lvmRun) removeSome(ctx context.Context, e *lvm.Engine, list []removal) error {
	err := r.removeAtOnce(ctx, e, list...)
	if err == nil || len(list) == 1 {
		return err
	}
	var errs []error
	for _, one := range list {
		errs = append(errs, r.removeAtOnce(ctx, e, one))
	}
	return errors.Join(errs...)
}

func lvchange(ctx context.Context, r *lvmRun) error {
	a := r.args
	tags := a.has("addtag") || a.has("deltag")
	if !a.has("activate") && !tags && !a.has("permission") && !a.has("refresh") {
		return usagef("need one or more of: --activate, --addtag, --deltag, --permission, --refresh")
	}
	on, auto, err := a.activation(false)
	if err != nil {
		return err
	}
	readOnly, err := r.permission()
	if err != nil {
		return err
	}
	if len(a.words) == 0 {
		return usagef("please give logical volume path(s)")
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	found, err := lvmVolumes(ctx, e, a.words)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range found {
		for _, ref := range f.refs() {
			changed := false
			if a.has("permission") {
				if f.vg.LV(ref.LV).Writable() == !readOnly {
					kind := "writable"
					if readOnly {
						kind = "read only"
					}
					errs = append(errs, fmt.Errorf("logical volume %s is already %s: %w", ref, kind, lvm.ErrInvalid))
					continue
				}
				if err := e.SetPermission(ctx, ref, !readOnly); err != nil {
					errs = append(errs, err)
					continue
				}
				changed = true
			}
			if tags {
				if err := e.Tag(ctx, ref, a.all("addtag"), a.all("deltag")); err != nil {
					errs = append(errs, err)
					continue
				}
				changed = true
			}
			if changed {
				r.say("Logical volume %s changed.", ref)
			}
		}
		if a.has("activate") {
			errs = append(errs, r.activateSome(ctx, e, f, on, auto))
		}
		if a.has("refresh") {
			errs = append(errs, r.eachUnit(f.vg, f.lvs, func(ref lvm.Ref) error {
				if err := e.Refresh(ctx, ref); err != nil {
					return err
				}
				return r.followMerge(ctx, e, ref)
			}))
		}
	}
	return errors.Join(errs...)
}

func (r *lvmRun) activateSome(ctx context.Context, e *lvm.Engine, f lvmFound, on, auto bool) error {
	var lvs []*lvm.LV
	states, err := e.States(ctx, f.vg)
	if err != nil {
		return err
	}
	for _, lv := range f.lvs {
		if on && r.skipped(lv, auto) {
			r.warn("Ignoring %s/%s, which is flagged to be skipped; -K activates it.", f.vg.Name, lv.Name)
			continue
		}
		if seg := f.vg.Snapshot(lv.Name); seg != nil && seg.Merging {
			return &lvm.Error{VG: f.vg.Name, LV: lv.Name, Op: "activate", Err: fmt.Errorf("it merges into %s, activate that: %w", seg.Origin, lvm.ErrMerging)}
		}
		origin := f.vg.Origin(lv.Name)
		if !on && origin != nil && states[lv.Name].Active && !slices.ContainsFunc(f.lvs, func(l *lvm.LV) bool { return l.Name == origin.Name }) {
			others := ""
			if n := len(f.vg.Snapshots(origin.Name)) - 1; n > 0 {
				others = fmt.Sprintf(" and %d other snapshot(s)", n)
			}
			if err := r.agreed(fmt.Sprintf("Change of snapshot %s will also change its origin %s%s. Proceed?", lv.Name, origin.Name, others)); err != nil {
				return err
			}
		}
		lvs = append(lvs, lv)
	}
	return r.eachUnit(f.vg, lvs, func(ref lvm.Ref) error { return r.activate(ctx, e, ref, on) })
}

// skipped tells a volume that is flagged to be left alone, unless -K is given.
func (r *lvmRun) skipped(lv *lvm.LV, auto bool) bool {
	return slices.Contains(lv.Flags, "ACTIVATION_SKIP") && !r.args.has("ignoreactivationskip") ||
		auto && slices.Contains(lv.Flags, "NOAUTOACTIVATE")
}

func (r *lvmRun) activate(ctx context.Context, e *lvm.Engine, ref lvm.Ref, on bool) error {
	if !on {
		return e.Deactivate(ctx, ref)
	}
	if err := e.Activate(ctx, ref); err != nil {
		return err
	}
	return r.followMerge(ctx, e, ref)
}

// eachUnit does something once for every origin with its snapshots.
func (r *lvmRun) eachUnit(vg *lvm.VG, lvs []*lvm.LV, f func(lvm.Ref) error) error {
	var errs []error
	seen := map[string]bool{}
	for _, lv := range lvs {
		unit, err := vg.Unit(lv.Name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if !seen[unit[0].Name] {
			seen[unit[0].Name] = true
			errs = append(errs, f(lvm.Ref{VG: vg.Name, LV: unit[0].Name}))
		}
	}
	return errors.Join(errs...)
}

func lvrename(ctx context.Context, r *lvmRun) error {
	w := r.args.words
	var old, to lvm.Ref
	var err error
	switch len(w) {
	case 3:
		vg, e := lvmGroupName(w[0])
		if e != nil {
			return e
		}
		if old, err = lvmRef(w[1], vg); err == nil {
			to, err = lvmRef(w[2], vg)
		}
	case 2:
		if old, err = lvmRef(w[0], ""); err == nil {
			to, err = lvmRef(w[1], old.VG)
		}
	default:
		return usagef("old and new logical volume names required")
	}
	if err != nil {
		return err
	}
	if old.VG != to.VG {
		return usagef("logical volume names must have the same volume group (%q or %q)", old.VG, to.VG)
	}
	if old == to {
		return usagef("old and new logical volume names must differ")
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	if err := e.Rename(ctx, old, to.LV); err != nil {
		return err
	}
	r.say("Renamed %q to %q in volume group %q", old.LV, to.LV, old.VG)
	return nil
}

func lvextend(ctx context.Context, r *lvmRun) error {
	if len(r.args.words) == 0 {
		return usagef("please provide the logical volume name")
	}
	if r.args.has("resizefs") {
		return fmt.Errorf("--resizefs: file systems are left to who uses them: %w", errors.ErrUnsupported)
	}
	size, more, err := r.sizeFlags()
	if err != nil {
		return err
	}
	ref, err := lvmRef(r.args.words[0], "")
	if err != nil {
		return err
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	vg, err := e.Group(ctx, ref.VG)
	if err != nil {
		return err
	}
	pvs, err := pvNames(vg, r.host, r.args.words[1:])
	if err != nil {
		return err
	}
	x, err := e.Extend(ctx, ref, lvm.ExtendRequest{Size: size, More: more, PVs: pvs})
	if err != nil {
		return err
	}
	for _, n := range x.Notes {
		r.warn("%s", upperFirst(n))
	}
	r.say("Size of logical volume %s changed from %s (%d extents) to %s (%d extents).", ref,
		lvmHuman(vg.Sectors(x.Was)), x.Was, lvmHuman(vg.Sectors(x.Is)), x.Is)
	r.say("Logical volume %s successfully resized.", ref)
	return nil
}
