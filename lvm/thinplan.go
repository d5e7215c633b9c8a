package lvm

import (
	"errors"
	"fmt"
	"slices"

	"cowhand/dmcore"
)

// ErrTransaction is a thin pool whose kernel side and whose metadata have gone
// different ways: what one of them knows, the other does not.
var ErrTransaction = errors.New("thin pool and metadata do not match")

// PendingThin lists the messages that the kernel's pool is still to be sent, as
// its status tells: the metadata has them, and lost its writer before it could
// know that the kernel did too. All messages a segment lists belong to the one
// step to its transaction id, and the last message makes that step
// (lvm2 2.03.16, device_mapper/libdm-deptree.c, _thin_pool_node_send_messages,
// and lib/thin/thin.c, _thin_pool_add_target_line):
//
//	the kernel's id is the metadata's       nothing, the messages were carried out
//	the kernel's id is the one before       the messages
//	anything else                           [ErrTransaction]
//
// A pool that takes no messages is an error only where there are some.
func (vg *VG) PendingThin(pool string, st dmcore.ThinPoolStatus) ([]dmcore.ThinMessage, error) {
	messages, err := vg.pendingThin(vg.LV(pool), st)
	return messages, vg.fail(pool, "", err)
}

func (vg *VG) pendingThin(lv *LV, st dmcore.ThinPoolStatus) ([]dmcore.ThinMessage, error) {
	if lv == nil {
		return nil, ErrNotFound
	}
	p := lv.ThinPool()
	switch {
	case p == nil:
		return nil, fmt.Errorf("is no thin pool: %w", ErrInvalid)
	case p.fresh(): // the kernel's id is not looked at: others may keep it
		return nil, nil
	case st.State != dmcore.ThinOK:
		return nil, vg.unchangeable(lv.Name, st)
	case st.TransactionID == p.TransactionID:
		return nil, nil
	case st.TransactionID+1 != p.TransactionID:
		want := p.TransactionID
		if len(p.Messages) > 0 {
			want--
		}
		return nil, fmt.Errorf("transaction id is %d in the kernel, %d was expected: %w", st.TransactionID, want, ErrTransaction)
	case len(p.Messages) == 0:
		return nil, nil
	}
	if err := vg.unchangeable(lv.Name, st); err != nil {
		return nil, err
	}
	var messages []dmcore.ThinMessage
	for _, m := range p.Messages {
		text, err := vg.thinMessage(m)
		if err != nil {
			return nil, err
		}
		messages = append(messages, text)
	}
	return append(messages, dmcore.SetTransactionID(p.TransactionID-1, p.TransactionID)), nil
}

// thinMessage is what the kernel is told: a volume with an origin is made as its
// snapshot.
func (vg *VG) thinMessage(m ThinMessage) (dmcore.ThinMessage, error) {
	if m.Create == "" {
		return dmcore.DeleteThin(m.Delete), nil
	}
	lv := vg.LV(m.Create)
	if lv == nil || lv.Thin() == nil {
		return "", fmt.Errorf("%s, which is to be made in it, is no thin volume: %w", m.Create, ErrInvalid)
	}
	t := lv.Thin()
	if t.Origin == "" {
		return dmcore.CreateThin(t.DeviceID), nil
	}
	origin := vg.LV(t.Origin)
	if origin == nil || origin.Thin() == nil {
		return "", fmt.Errorf("%s, which is to be made in it, has the origin %s, which is no thin volume: %w", m.Create, t.Origin, ErrInvalid)
	}
	return dmcore.CreateThinSnapshot(t.DeviceID, origin.Thin().DeviceID), nil
}

// PoolActivations plans the devices that the volumes in a thin pool stand on, in
// order, and nothing above them. With those live, the kernel's transaction id can
// be read, and messages sent, before volumes are activated that only these make.
func (vg *VG) PoolActivations(pool string, o ActivateOptions) ([]Activation, error) {
	lv := vg.LV(pool)
	if lv == nil || lv.ThinPool() == nil {
		return nil, vg.fail(pool, "", fmt.Errorf("thin pool: %w", ErrNotFound))
	}
	links := vg.links()
	if err := vg.canStack(lv, links); err != nil {
		return nil, vg.fail(pool, "activate", err)
	}
	m := &mapper{vg: vg, o: o, links: links, done: map[dmcore.UUID]bool{}}
	m.pool(lv)
	return m.list, m.err
}

// PlanThin plans sending what [VG.PendingThin] lists to a pool that is live. The
// volumes that snapshots are taken of are suspended meanwhile, if they are
// active (Linux 6.1, Documentation/admin-guide/device-mapper/
// thin-provisioning.rst). have are the devices of their units.
//
// The messages are the end of Suspend: a snapshot is there when the window
// closes. They are not taken back by [Plan.Undo]; the metadata goes on listing
// them until [VG.ForgetMessages], and who comes next asks PendingThin again.
func (vg *VG) PlanThin(pool string, st dmcore.ThinPoolStatus, have []Device) (Plan, error) {
	messages, err := vg.PendingThin(pool, st)
	if err != nil || len(messages) == 0 {
		return Plan{}, err
	}
	p := &planner{}
	p.look(have)
	for _, m := range vg.LV(pool).ThinPool().Messages {
		if m.Create == "" || vg.LV(m.Create).Thin().Origin == "" {
			continue
		}
		origin := vg.LV(vg.LV(m.Create).Thin().Origin)
		for _, layer := range []string{"", layerReal} {
			p.hold(vg.uuid(origin, layer), layer == "")
		}
	}
	p.order()
	// Bottom up, as they are found: there are no tables that would tell ranks.
	slices.SortStableFunc(p.plan.Resume, func(a, b Step) int { return p.topDown(b.UUID, a.UUID) })
	lv := vg.LV(pool)
	u := vg.uuid(lv, layerTPool)
	layer := layerTPool
	if lv.ThinPool().fresh() {
		layer = ""
	}
	for _, m := range messages {
		p.plan.Suspend = append(p.plan.Suspend, Step{Do: dmcore.Message, Name: dmcore.BuildName(vg.Name, pool, layer), UUID: u, Text: string(m)})
	}
	return p.plan, nil
}

// ForgetMessages takes the messages of a pool out of the metadata, once the
// kernel has its transaction id.
func (vg *VG) ForgetMessages(pool string) {
	if lv := vg.LV(pool); lv != nil && lv.ThinPool() != nil {
		lv.ThinPool().Messages = nil
	}
}

// Pools lists the thin pools that the volumes of a unit stand on, in order.
func (vg *VG) Pools(unit []*LV) []*LV {
	links := vg.links()
	var pools []*LV
	for _, lv := range unit {
		below, _ := vg.stack(lv, links)
		for _, b := range below {
			if b.ThinPool() != nil && !slices.Contains(pools, b) {
				pools = append(pools, b)
			}
		}
	}
	return pools
}

// held lists the shared devices that are not wanted, but have to stay: something
// stands on them, or has them open, that does not go.
func (p *planner) held() map[dmcore.UUID]bool {
	var goes []*Device
	for i := range p.have {
		if _, ok := p.wanted[p.have[i].Info.UUID]; !ok {
			goes = append(goes, &p.have[i])
		}
	}
	slices.SortStableFunc(goes, func(a, b *Device) int { return p.topDown(a.Info.UUID, b.Info.UUID) })
	held := map[dmcore.UUID]bool{}
	left := map[dmcore.UUID]int{} // openings by devices that go
	for _, d := range goes {
		u := d.Info.UUID
		if d.Shared && !d.top() && !isPart(d.Info) && d.Info.OpenCount > left[u] {
			held[u] = true
			continue
		}
		for _, dev := range d.Table.Devs() {
			if below, ok := dev.UUID(); ok {
				left[below]++
			}
		}
	}
	return held
}

// top reports a device that stands for its volume. A thin pool in which nothing
// was ever made has only its lower layer, without a suffix to its name.
func (d *Device) top() bool {
	switch layerOf(d.Info.UUID) {
	case "", layerPool:
		return true
	case layerTPool:
		_, _, layer, ok := d.Info.Name.Split()
		return ok && layer == ""
	}
	return false
}

// ofPool reports a layer of a thin pool. It is suspended without waiting for what
// is queued: a pool that is full keeps I/O until there is room (lvm2 2.03.16,
// lib/activate/activate.c, _lv_suspend).
func ofPool(u dmcore.UUID) bool {
	return slices.Contains([]string{layerTPool, layerPool, layerTData, layerTMeta}, layerOf(u))
}

// partsGrow reports a thin pool that stays as it is, but on a longer data or
// metadata device: it looks how long they are when it is resumed
// (drivers/md/dm-thin.c, pool_preresume).
func (p *planner) partsGrow(w Activation) bool {
	if layerOf(w.UUID) != layerTPool {
		return false
	}
	for _, dev := range w.Table.Devs() {
		u, _ := dev.UUID()
		if h := p.byUUID[u]; h != nil && h.Table.Len() != p.wanted[u].Table.Len() {
			return true
		}
	}
	return false
}

// sameTable reports a live table that need not be loaded again. At how many free
// blocks a thin pool raises an event is the choice of who activated it.
func sameTable(live, want dmcore.Table) bool {
	if len(live) == 1 && len(want) == 1 {
		was, ok1 := live[0].Target.(dmcore.ThinPool)
		will, ok2 := want[0].Target.(dmcore.ThinPool)
		if ok1 && ok2 {
			will.LowWater = was.LowWater
			want = dmcore.Table{{Start: want[0].Start, Length: want[0].Length, Target: will}}
		}
	}
	return live.Equal(want)
}
