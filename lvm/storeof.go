package lvm

import (
	"context"
	"fmt"

	"cowhand/dmcore"
)

// AttachStore makes a plain volume the store of a new snapshot of origin, which
// then bears its name; what the volume held is lost.
func (vg *VG) AttachStore(origin, store string, chunk dmcore.Sectors, stamp Stamp) error {
	return vg.fail(store, "make a snapshot", vg.attachStore(origin, store, chunk, stamp))
}

func (vg *VG) attachStore(origin, store string, chunk dmcore.Sectors, stamp Stamp) error {
	links := vg.links()
	lv, of := vg.LV(store), vg.LV(origin)
	if lv == nil {
		return ErrNotFound
	}
	if err := vg.canBeOrigin(of, links); err != nil {
		return fmt.Errorf("its origin %s: %w", origin, err)
	}
	switch {
	case lv == of:
		return fmt.Errorf("of itself: %w", ErrInvalid)
	case len(links.byOrigin[store]) > 0:
		return fmt.Errorf("it has snapshots: %w", ErrInUse)
	case len(links.thin.external[store]) > 0 || lv.thin():
		return fmt.Errorf("it belongs to a thin pool: %w", ErrUnsupported)
	}
	if err := vg.canBeOrigin(lv, links); err != nil { // plain, shown, and no snapshot
		return err
	}
	if err := CheckChunk(orDefault(chunk)); err != nil {
		return err
	}
	if least := minCOWChunks * orDefault(chunk); vg.Size(lv) < least {
		return fmt.Errorf("size %s: smaller than the three chunks that a snapshot needs, %s: %w", HumanSize(vg.Size(lv)), HumanSize(least), ErrInvalid)
	}
	most := COWMaximum(vg.Size(of), orDefault(chunk), vg.ExtentSize)
	if lv.Extents() < most && cowTrap(vg.Size(lv), orDefault(chunk)) {
		return fmt.Errorf("size %s: the kernel gives up a store of that size when its last chunk is used, extend it: %w", HumanSize(vg.Size(lv)), ErrInvalid)
	}
	helper, err := vg.newHelper(SnapshotSpec{Origin: origin, Chunk: chunk, Stamp: stamp}, lv, vg.nextNumber(helperPrefix))
	if err != nil {
		return err
	}
	lv.setStatus(statusVisible, false)
	vg.LVs = append(vg.LVs, helper)
	return nil
}

// AttachStore makes a volume that nothing has open the store of a new snapshot.
func (e *Engine) AttachStore(ctx context.Context, origin, store Ref, chunk dmcore.Sectors) error {
	if origin.VG != store.VG {
		return fmt.Errorf("%s, %s: want one volume group: %w", origin, store, ErrInvalid)
	}
	vg, err := e.Group(ctx, store.VG)
	if err != nil {
		return err
	}
	if err := vg.Clone().AttachStore(origin.LV, store.LV, chunk, e.stamp()); err != nil {
		return err
	}
	if err := e.Deactivate(ctx, store); err != nil {
		return err
	}
	return e.change(ctx, []string{store.VG}, func(groups map[string]*VG) (edit, error) {
		vg := groups[store.VG]
		closed := watched{}
		if lv := vg.LV(store.LV); lv != nil {
			closed = vg.watch(store.LV)
			devs, err := e.look(ctx)
			if err != nil {
				return edit{}, err
			}
			if devs.active(vg, lv) { // its beginning is about to be zeroed
				return edit{}, vg.fail(store.LV, "make a snapshot", fmt.Errorf("was activated meanwhile: %w", ErrInUse))
			}
		}
		if err := vg.AttachStore(origin.LV, store.LV, chunk, e.stamp()); err != nil {
			return edit{}, err
		}
		ed, err := e.unitsAround(ctx, groups, origin)
		ed.fresh = []blank{{Ref: store, length: storeHead(orDefault(chunk))}}
		ed.still = func(ctx context.Context) error { return e.stillClosed(ctx, "make a snapshot", []watched{closed}) }
		return ed, err
	})
}
