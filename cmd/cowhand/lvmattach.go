package main

import (
	"context"
	"fmt"
	"slices"

	"cowhand/lvm"
)

// attachStore is "lvconvert -s ORIGIN STORE": a volume becomes the store of a
// snapshot of another.
func (r *lvmRun) attachStore(ctx context.Context) error {
	if len(r.args.words) != 2 {
		return usagef("please give an origin, and the volume that is to be its snapshot")
	}
	origin, err := lvmRef(r.args.words[0], "")
	if err != nil {
		return err
	}
	store, err := lvmRef(r.args.words[1], origin.VG)
	if err != nil {
		return err
	}
	chunk, err := r.sectors("chunksize")
	if err != nil {
		return err
	}
	if zero, _ := r.args.yesNo("zero", true); !zero {
		return fmt.Errorf("--zero n: what is in the store would be taken for a snapshot's: %w", lvm.ErrUnsupported)
	}
	e, err := r.volumes(ctx)
	if err != nil {
		return err
	}
	found, err := lvmVolumes(ctx, e, []string{origin.String(), store.String()})
	if err != nil {
		return err
	}
	if len(found) != 1 || !slices.ContainsFunc(found[0].lvs, func(lv *lvm.LV) bool { return lv.Name == store.LV }) {
		return usagef("%s, %s: want one volume group", origin, store)
	}
	if err := found[0].vg.Clone().AttachStore(origin.LV, store.LV, chunk, lvm.Stamp{}); err != nil { // before anybody is asked
		return err
	}
	if err := r.agreed(fmt.Sprintf("What is on %s will be lost. Do you really want to make it a snapshot of %s?", store, origin)); err != nil {
		return err
	}
	if err := e.AttachStore(ctx, origin, store, chunk); err != nil {
		return err
	}
	r.say("Logical volume %s converted to snapshot.", store)
	return nil
}
