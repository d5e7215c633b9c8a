package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"cowhand/lvm"
)

// wantsVirtual tells "lvcreate --type snapshot -V SIZE VG", which asks for a
// snapshot of nothing: a volume that may be larger than its group.
func (r *lvmRun) wantsVirtual() bool {
	return r.args.has("virtualoriginsize") || r.args.get("type") == "snapshot" && r.args.has("virtualsize")
}

// createVirtual makes a virtual snapshot.
func (r *lvmRun) createVirtual(ctx context.Context) error {
	size, _, err := r.sizeFlags()
	if err != nil {
		return err
	}
	virtual, err := lvm.ParseSize(orString(r.args.get("virtualoriginsize"), r.args.get("virtualsize")))
	if err != nil {
		return usagef("Invalid argument for --virtualsize: %s", err)
	}
	vg, name, words, err := r.newVolumeName()
	if err != nil {
		return err
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
	e, group, err := r.group(ctx, vg)
	if err != nil {
		return err
	}
	pvs, err := pvNames(group, r.host, words)
	if err != nil {
		return err
	}
	spec := lvm.VirtualSpec{Virtual: virtual, SnapshotSpec: lvm.SnapshotSpec{
		Name: name, Size: size, Chunk: chunk, ReadOnly: readOnly, PVs: pvs, Tags: r.args.tags("addtag"), Traits: traits}}
	name, notes, err := e.CreateVirtual(ctx, vg, spec, active)
	if err != nil {
		return err
	}
	for _, n := range notes {
		r.warn("%s", upperFirst(n))
	}
	r.say("Logical volume %q created.", name)
	return nil
}

// newVolumeName reads where a volume is to be made, and its name: "-n NAME VG" or
// "-n VG/NAME"; the rest are physical volumes.
func (r *lvmRun) newVolumeName() (vg, name string, words []string, err error) {
	name, words = r.args.get("name"), r.args.words
	if strings.Contains(name, "/") {
		ref, err := lvmRef(name, "")
		if err != nil {
			return "", "", nil, err
		}
		vg, name = ref.VG, ref.LV
	}
	if len(words) > 0 {
		word, err := lvmGroupName(words[0])
		switch {
		case vg == "" && err != nil:
			return "", "", nil, usagef("%s", err)
		case vg == "", err == nil && vg == word:
			vg, words = word, words[1:]
		}
	}
	if vg == "" {
		vg = strings.TrimPrefix(os.Getenv("LVM_VG_NAME"), "/dev/")
	}
	if vg == "" {
		return "", "", nil, usagef("please provide a volume group name")
	}
	if name != "" {
		if err := lvmNewName(vg, name); err != nil {
			return "", "", nil, err
		}
	}
	return vg, name, words, nil
}

// originName shows what a volume is a snapshot of as lvs does, in brackets if it is
// hidden.
func originName(r *lvmRow) string {
	name := r.group.origin(r.lv)
	if r.group.VirtualOrigin(r.group.LV(name)) {
		return fmt.Sprintf("[%s]", name)
	}
	return name
}
