package main

import (
	"context"
	"errors"
	"fmt"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// lvmLook is all that reports tell of.
type lvmLook struct {
	groups []*lvmGroup
	broken map[string]error // groups that cannot be used
	pvs    []lvm.Volume
}

func (l *lvmLook) group(name string) (*lvmGroup, error) {
	for _, g := range l.groups {
		if g.Name == name {
			return g, nil
		}
	}
	if err := l.broken[name]; err != nil {
		return nil, err
	}
	return nil, &lvm.Error{VG: name, Err: fmt.Errorf("volume group: %w", lvm.ErrNotFound)}
}

// kernelOwn stands for the number of a device that is not the engine's.
const kernelOwn = 1<<32 - 1

// look reads all metadata and asks the engine, if one runs, for devices.
func (r *lvmRun) look(ctx context.Context) (*lvmLook, error) {
	e, running, err := r.observer()
	if err != nil {
		return nil, err
	}
	listing, err := e.Store.Scan(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range listing.Problems {
		r.warn("WARNING: %v", p)
	}
	look := &lvmLook{broken: map[string]error{}, pvs: listing.PVs}
	var infos map[dmcore.UUID]dmcore.Info
	known := r.args.get("driverloaded") != "n"
	if running && known {
		list, err := e.DM.List(ctx)
		if err != nil {
			return nil, err
		}
		infos = map[dmcore.UUID]dmcore.Info{}
		for _, i := range list {
			infos[i.UUID] = i
		}
	}
	var kernel map[dmcore.UUID]bool
	if known && e.Elsewhere != nil {
		if kernel, err = e.Elsewhere(); err != nil {
			return nil, err
		}
	}
	for _, g := range listing.Groups {
		if g.Err != nil && !r.reveals(g.Err) {
			look.broken[g.VG.Name] = g.Err
			if errors.Is(g.Err, lvm.ErrForeign) {
				look.hide(g.VG)
			}
			continue
		}
		states := map[string]lvm.LVState{}
		var live map[string]lvm.State
		var thin map[string]lvm.LVState
		if infos != nil {
			if live, err = e.States(ctx, g.VG); err != nil {
				return nil, err
			}
			if thin, err = e.ThinStates(ctx, g.VG, infos); err != nil {
				return nil, err
			}
		}
		for _, lv := range g.VG.LVs {
			uuid := g.VG.DeviceUUID(lv)
			info, exists := infos[uuid]
			if kernel[uuid] { // that much is known of it
				info, exists = dmcore.Info{UUID: uuid, Live: true, Dev: dmcore.DevNo{Major: kernelOwn}}, true
			}
			st := lvm.LVState{Known: known, Exists: exists, Info: info, Snapshot: live[lv.Name].Snapshot}
			if of, ok := thin[lv.Name]; ok && !kernel[uuid] {
				st.Exists, st.Info, st.Thin = of.Exists, of.Info, of.Thin
			}
			states[lv.Name] = st
		}
		look.groups = append(look.groups, newLVMGroup(g.VG, listing.PVs, states))
	}
	return look, nil
}
