package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cowhand/dmcore"
	"cowhand/lvm"
)

func lvmGroupVerbs() []lvmVerb {
	return []lvmVerb{
		{"vgcreate", "make a volume group", "VG PATH...",
			"physicalextentsize|s: maxlogicalvolumes|l: maxphysicalvolumes|p: addtag: alloc: clustered|c: systemid: metadatasize: pvmetadatacopies,metadatacopies: vgmetadatacopies: dataalignment: dataalignmentoffset: labelsector: zero|Z: metadatatype|M: setautoactivation: shared", vgcreate},
		{"vgremove", "remove volume groups", "VG...", "noudevsync select|S:", vgremove},
		{"vgextend", "add physical volumes to a volume group", "VG PATH...",
			"metadatasize: pvmetadatacopies,metadatacopies: dataalignment: dataalignmentoffset: zero|Z: metadatatype|M:", vgextend},
		{"vgreduce", "take unused physical volumes out of a volume group", "VG PATH...", "", vgreduce},
		{"vgchange", "activate or deactivate all volumes of a group, or change the group", "-a y|n [VG|@TAG...]\n--addtag|--deltag TAG VG...\n-l COUNT|--setautoactivation y|n [VG|@TAG...]",
			"activate|a: addtag: deltag: logicalvolume|l: setautoactivation: refresh ignoreactivationskip|K partial|P poll: activationmode: sysinit", vgchange},
	}
}

// groupAndPaths reads "VG PATH...", and makes physical volumes of paths that
// are none, as LVM2 does.
func (r *lvmRun) groupAndPaths(ctx context.Context) (vg string, paths []string, e *lvm.Engine, err error) {
	if len(r.args.words) < 2 {
		return "", nil, nil, usagef("please enter a volume group and physical volumes")
	}
	if vg, err = lvmGroupName(r.args.words[0]); err != nil {
		return "", nil, nil, usagef("%s", err)
	}
	if paths, err = r.paths(r.args.words[1:]); err != nil {
		return "", nil, nil, err
	}
	e, err = r.metadata()
	return vg, paths, e, err
}

func vgcreate(ctx context.Context, r *lvmRun) error {
	name, paths, e, err := r.groupAndPaths(ctx)
	if err != nil {
		return err
	}
	spec := lvm.VGSpec{Name: name, PVs: paths, Tags: r.args.tags("addtag"), SystemID: r.newSystemID(e)}
	if r.args.has("physicalextentsize") {
		s, err := lvmSize(r.args.get("physicalextentsize"), "m")
		if err != nil {
			return lvmValue("physicalextentsize", r.args.get("physicalextentsize"))
		}
		spec.ExtentSize = dmcore.Sectors(s.Bytes / dmcore.SectorSize)
	}
	if spec.MaxLV, err = r.args.number("maxlogicalvolumes", 0, 0, 1<<31-1); err != nil {
		return err
	}
	if spec.MaxPV, err = r.args.number("maxphysicalvolumes", 0, 0, 1<<31-1); err != nil {
		return err
	}
	auto, err := r.args.yesNo("setautoactivation", true)
	if err != nil {
		return err
	}
	spec.NoAuto = !auto
	if spec.Policy, err = r.policy(); err == nil && spec.Policy == "inherit" {
		err = lvmValue("alloc", spec.Policy)
	}
	if err != nil {
		return err
	}
	if r.args.has("shared") || r.args.get("clustered") == "y" {
		return fmt.Errorf("%s: shared groups: %w", name, errors.ErrUnsupported)
	}
	if err := lvm.CheckName(name); err != nil {
		return err
	}
	groups, err := e.Groups(ctx)
	if err != nil {
		return err
	}
	for _, vg := range groups { // before anything is written
		if vg.Name == name {
			return &lvm.Error{VG: name, Op: "create", Err: fmt.Errorf("volume group: %w", lvm.ErrExists)}
		}
	}
	if err := r.makePVs(ctx, e, paths); err != nil {
		return err
	}
	if _, err := e.CreateVG(ctx, spec); err != nil {
		return err
	}
	with := ""
	if spec.SystemID != "" {
		with = " with system ID " + spec.SystemID
	}
	r.say("Volume group %q successfully created%s", name, with)
	return nil
}

func vgextend(ctx context.Context, r *lvmRun) error {
	name, paths, e, err := r.groupAndPaths(ctx)
	if err != nil {
		return err
	}
	if _, err := e.Group(ctx, name); err != nil {
		return err
	}
	if err := r.makePVs(ctx, e, paths); err != nil {
		return err
	}
	if err := e.ExtendVG(ctx, name, paths...); err != nil {
		return err
	}
	r.say("Volume group %q successfully extended", name)
	return nil
}

func vgreduce(ctx context.Context, r *lvmRun) error {
	name, paths, e, err := r.groupAndPaths(ctx)
	if err != nil {
		return err
	}
	for _, p := range paths {
		if err := e.ReduceVG(ctx, name, p); err != nil {
			return err
		}
		r.say("Removed %q from volume group %q", p, name)
	}
	return nil
}

// groups finds groups by name or tag; all of them if no word is given.
func (r *lvmRun) groups(ctx context.Context, e *lvm.Engine, words []string) ([]*lvm.VG, error) {
	all, err := e.Groups(ctx)
	if err != nil || len(words) == 0 {
		return all, err
	}
	var found []*lvm.VG
	seen := map[string]bool{}
	for _, w := range words {
		if tag, ok := strings.CutPrefix(w, "@"); ok {
			for _, vg := range all {
				if hasTag(vg.Tags, tag) && !seen[vg.Name] {
					seen[vg.Name], found = true, append(found, vg)
				}
			}
			continue
		}
		name, err := lvmGroupName(w)
		if err != nil {
			return nil, err
		}
		vg, err := e.Group(ctx, name)
		if err != nil {
			return nil, err
		}
		if !seen[name] {
			seen[name], found = true, append(found, vg)
		}
	}
	return found, nil
}

func hasTag(tags []string, tag string) bool {
	for _, t := range tags {
		if t == tag {
			return true
		}
	}
	return false
}

func vgremove(ctx context.Context, r *lvmRun) error {
	if r.args.has("select") {
		return fmt.Errorf("--select: name the groups: %w", errors.ErrUnsupported)
	}
	if len(r.args.words) == 0 {
		return usagef("please enter a volume group")
	}
	e, err := r.metadata()
	if err != nil {
		return err
	}
	groups, err := r.groups(ctx, e, r.args.words)
	if err != nil {
		return err
	}
	for _, vg := range groups {
		if shown := vg.ShownLVs(); len(shown) > 0 {
			if err := r.agreed(fmt.Sprintf("Do you really want to remove volume group %q containing %d logical volumes?", vg.Name, len(shown))); err != nil {
				return err
			}
			live, err := r.volumes(ctx)
			if err != nil {
				return err
			}
			if err := r.removeAtOnce(ctx, live, removals(lvmFound{vg, shown})...); err != nil {
				return err
			}
		}
		if err := e.RemoveVG(ctx, vg.Name); err != nil {
			return err
		}
		r.say("Volume group %q successfully removed", vg.Name)
	}
	return nil
}

func vgchange(ctx context.Context, r *lvmRun) error {
	on, auto, err := r.args.activation(false)
	if err != nil {
		return err
	}
	if err := r.wholeOnly(on); err != nil {
		return err
	}
	tags := r.args.has("addtag") || r.args.has("deltag")
	limits := r.args.has("logicalvolume") || r.args.has("setautoactivation")
	if !r.args.has("activate") && !tags && !limits && !r.args.has("refresh") {
		return usagef("need one or more of: --activate, --addtag, --deltag, --logicalvolume, --refresh, --setautoactivation")
	}
	if tags && len(r.args.words) == 0 {
		return usagef("please enter a volume group")
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	groups, err := r.groups(ctx, e, r.args.words)
	if err != nil {
		return err
	}
	var errs []error
	for _, vg := range groups {
		if tags {
			if err := e.Tag(ctx, lvm.Ref{VG: vg.Name}, r.args.tags("addtag"), r.args.tags("deltag")); err != nil {
				errs = append(errs, err)
				continue
			}
			r.say("Volume group %q successfully changed", vg.Name)
		}
		if limits {
			if err := r.limitGroup(ctx, e, vg.Name); err != nil {
				errs = append(errs, err)
				continue
			}
			r.say("Volume group %q successfully changed", vg.Name)
		}
		if r.args.has("activate") {
			errs = append(errs, r.activateAll(ctx, e, vg, on, auto))
		}
		if r.args.has("refresh") {
			errs = append(errs, r.eachUnit(vg, vg.ShownLVs(), func(ref lvm.Ref) error { return e.Refresh(ctx, ref) }))
		}
	}
	return errors.Join(errs...)
}

// limitGroup changes how many volumes a group may have, and whether they are
// activated by themselves.
func (r *lvmRun) limitGroup(ctx context.Context, e *lvm.Engine, vg string) error {
	if r.args.has("logicalvolume") {
		most, err := r.args.number("logicalvolume", 0, 0, 1<<31-1)
		if err != nil {
			return err
		}
		if err := e.SetMaxLV(ctx, vg, most); err != nil {
			return err
		}
	}
	if r.args.has("setautoactivation") {
		auto, err := r.args.yesNo("setautoactivation", true)
		if err != nil {
			return err
		}
		return e.SetAutoActivation(ctx, lvm.Ref{VG: vg}, auto)
	}
	return nil
}

func (r *lvmRun) activateAll(ctx context.Context, e *lvm.Engine, vg *lvm.VG, on, auto bool) error {
	var lvs []*lvm.LV
	for _, lv := range vg.ShownLVs() {
		if !on || !r.skipped(vg, lv, auto) {
			lvs = append(lvs, lv)
		}
	}
	err := r.eachUnit(vg, lvs, func(ref lvm.Ref) error { return r.activate(ctx, e, ref, on) })
	states, err2 := e.States(ctx, vg)
	if err2 != nil {
		return errors.Join(err, err2)
	}
	active := 0
	for _, lv := range vg.ShownLVs() {
		if states[lv.Name].Active {
			active++
		}
	}
	r.say("%d logical volume(s) in volume group %q now active", active, vg.Name)
	return err
}
