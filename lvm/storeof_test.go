package lvm_test

import (
	"context"
	"errors"
	"testing"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// A volume that is to become a store, and that somebody activates again before its
// group is locked, keeps what it holds.
func TestAttachStoreActivatedMeanwhile(t *testing.T) {
	w := newWorld(t, 1, 64<<20)
	ctx := t.Context()
	root, store := w.create("root", "8m"), w.create("store", "4m")
	w.fill(store, 0, 64, 7)
	vg := w.group()
	uuid := vg.DeviceUUID(vg.LV("store"))
	table, err := w.DM.Table(ctx, uuid)
	if err != nil {
		t.Fatal(err)
	}
	gone := false
	w.Engine.DM = dmcore.NewClient(dmcore.ControlFunc(func(ctx context.Context, cmd dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
		if cmd == dmcore.List && gone {
			gone = false
			other := dmcore.NewClient(w.machine)
			if _, err := other.Create(ctx, "vg-store", uuid); err != nil {
				t.Error(err)
			}
			if err := other.Load(ctx, uuid, table, false); err != nil {
				t.Error(err)
			}
			if _, err := other.Resume(ctx, uuid); err != nil {
				t.Error(err)
			}
		}
		reply, err := w.machine.Do(ctx, cmd, r)
		gone = gone || cmd == dmcore.Remove && r.UUID == uuid && err == nil
		return reply, err
	}))
	if err := w.AttachStore(ctx, root, store, 0); !errors.Is(err, lvm.ErrInUse) {
		t.Errorf("attached: %v", err)
	}
	w.expect(store, 0, 7)
}
