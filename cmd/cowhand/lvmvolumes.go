package main

import (
	"context"
	"errors"
	"fmt"

	"cowhand/lvm"
)

func lvmVolumeVerbs() []lvmVerb {
	return []lvmVerb{
		{"lvcreate", "make a volume or a snapshot",
			"-L SIZE|-l EXTENTS|N%FREE [-n NAME] [-i STRIPES [-I SIZE]] VG [PATH...]\n-s -L SIZE|-l N%ORIGIN [-c CHUNK] [-n NAME] VG/ORIGIN\n" +
				"-T -L SIZE [-V SIZE] [-n NAME] [--poolmetadatasize SIZE] [-c CHUNK] [--discards passdown|nopassdown|ignore] [-Z n] VG[/POOL] [PATH...]\n" +
				"-T -V SIZE [-n NAME] VG/POOL\n-s [-n NAME] [-k y|n] VG/THIN\n-s --thinpool POOL [-n NAME] VG/ORIGIN",
			`size|L: extents|l: name|n: snapshot|s stripes|i: stripesize|I: chunksize|c: permission|p: addtag: activate|a:
			zero|Z: wipesignatures|W: setactivationskip|k: ignoreactivationskip|K contiguous|C: alloc: readahead|r: persistent|M: minor: major|j:
			type: mirrors|m: thin|T thinpool: virtualsize|V: virtualoriginsize: poolmetadatasize: poolmetadataspare: discards: errorwhenfull: cache|H setautoactivation: nosync`, lvcreate},
		{"lvremove", "remove volumes", "VG|VG/LV|@TAG...", "noudevsync nohistory select|S:", lvremove},
		{"lvchange", "activate or deactivate volumes, change tags, permission, or what a thin pool does",
			"-a y|n [-K] VG|VG/LV|@TAG...\n--addtag|--deltag TAG VG/LV...\n-p r|rw VG/LV...\n-k|--setautoactivation y|n VG/LV...\n--discards passdown|nopassdown|ignore VG/POOL...\n-Z|--errorwhenfull y|n VG/POOL...\n-r auto|none|SIZE VG/LV...\n-M y --minor N|-M n VG/LV...\n-C y|n|--alloc POLICY VG/LV...\n--refresh VG/LV...",
			"activate|a: addtag: deltag: permission|p: readahead|r: persistent|M: minor: major|j: contiguous|C: alloc: refresh discards: zero|Z: errorwhenfull: setactivationskip|k: setautoactivation: ignoreactivationskip|K partial|P poll: activationmode: select|S:", lvchange},
		{"lvrename", "give a volume another name", "VG OLD NEW\nVG/OLD NEW", "", lvrename},
		{"lvextend", "make a volume, or the store of a snapshot, longer", "-L [+]SIZE|-l [+]EXTENTS|N%FREE VG/LV [PATH...]\n--poolmetadatasize [+]SIZE VG/POOL [PATH...]",
			"size|L: extents|l: poolmetadatasize: alloc: nofsck resizefs|r usepolicies", lvextend},
	}
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
	if err := lvmNewName(to.VG, to.LV); err != nil {
		return err
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
	if r.args.has("usepolicies") {
		return r.extendByPolicy(ctx)
	}
	if r.args.has("resizefs") {
		return fmt.Errorf("--resizefs: file systems are left to who uses them: %w", errors.ErrUnsupported)
	}
	var request lvm.ExtendRequest
	var err error
	if request.Metadata, request.MoreMetadata, err = r.metadataSize(); err != nil {
		return err
	}
	if request.Metadata.IsZero() || r.args.has("size") || r.args.has("extents") {
		if request.Size, request.More, err = r.sizeFlags(); err != nil {
			return err
		}
	}
	ref, err := lvmRef(r.args.words[0], "")
	if err != nil {
		return err
	}
	e, vg, err := r.group(ctx, ref.VG)
	if err != nil {
		return err
	}
	pvs, err := pvNames(vg, r.host, r.args.words[1:])
	if err != nil {
		return err
	}
	request.PVs = pvs
	if request.Policy, err = r.policy(); err != nil {
		return err
	}
	x, err := e.Extend(ctx, ref, request)
	if err != nil {
		return err
	}
	for _, n := range x.Notes {
		r.warn("%s", upperFirst(n))
	}
	if err := r.overprovisioned(ctx, e, ref); err != nil {
		return err
	}
	if request.Size.IsZero() {
		r.say("Logical volume %s successfully resized.", ref)
		return nil
	}
	r.say("Size of logical volume %s changed from %s (%d extents) to %s (%d extents).", ref,
		lvmHuman(vg.Sectors(x.Was)), x.Was, lvmHuman(vg.Sectors(x.Is)), x.Is)
	r.say("Logical volume %s successfully resized.", ref)
	return nil
}
