package lvm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"cowhand/dmcore"
)

// look takes stock: live tables with their references by UUID, and how devices
// stand on one another.
func (p *planner) look(have []Device) {
	p.byUUID, p.byName = map[dmcore.UUID]*Device{}, map[dmcore.Name]*Device{}
	p.height, p.below, p.fed = map[dmcore.UUID]int{}, map[dmcore.UUID]bool{}, map[dmcore.Dev]dmcore.UUID{}
	p.resume = map[dmcore.UUID]bool{}
	p.suspend = map[dmcore.UUID]dmcore.SuspendOptions{}
	ref := map[dmcore.Dev]dmcore.Dev{}
	for _, d := range have {
		ref[d.Info.Dev.Dev()] = d.Info.UUID.Dev()
	}
	p.have = make([]Device, len(have))
	for i, d := range have {
		d.Table, _ = d.Table.Resolve(func(dev dmcore.Dev) (dmcore.Dev, error) {
			if to, ok := ref[dev]; ok {
				return to, nil
			}
			return dev, nil
		})
		p.have[i] = d
		p.byUUID[d.Info.UUID] = &p.have[i]
		p.byName[d.Info.Name] = &p.have[i]
	}
	for _, d := range p.have {
		p.measure(d.Info.UUID, len(have))
	}
	for _, w := range p.want {
		for _, dev := range w.Table.Devs() {
			if u, ok := dev.UUID(); ok {
				p.below[u] = true
			}
		}
	}
}

// measure finds a device's height; most bounds it should tables go in circles.
func (p *planner) measure(u dmcore.UUID, most int) int {
	if h, ok := p.height[u]; ok {
		return h
	}
	d := p.byUUID[u]
	if d == nil || most < 0 {
		return 0
	}
	h := 0
	for _, dev := range d.Table.Devs() {
		if below, ok := dev.UUID(); ok && p.byUUID[below] != nil {
			h = max(h, 1+p.measure(below, most-1))
		}
	}
	p.height[u] = h
	return h
}

// feed notes which wanted devices will have chunks copied into snapshots.
func (p *planner) feed() {
	for _, w := range p.want {
		if real, ok := feeds(w.Table); ok {
			p.fed[real] = w.UUID
		}
	}
}

// feeds returns the device whose snapshots the table's writes are copied into.
func feeds(t dmcore.Table) (real dmcore.Dev, ok bool) {
	if len(t) != 1 {
		return "", false
	}
	switch t := t[0].Target.(type) {
	case dmcore.SnapshotOrigin:
		return t.Dev, true
	case dmcore.SnapshotMerge:
		return t.Origin, true
	}
	return "", false
}

func snapshotOf(t dmcore.Table) (real dmcore.Dev, ok bool) {
	if len(t) == 1 {
		if s, ok := t[0].Target.(dmcore.Snapshot); ok {
			return s.Origin, true
		}
	}
	return "", false
}

func (p *planner) prepare(s Step) {
	if s.Do == dmcore.Load {
		s.shown = p.show(s.Table)
	}
	p.plan.Prepare = append(p.plan.Prepare, s)
}

// show prints a table with names for UUIDs.
func (p *planner) show(t dmcore.Table) string {
	named, err := t.Resolve(func(d dmcore.Dev) (dmcore.Dev, error) {
		if u, ok := d.UUID(); ok {
			if w, ok := p.wanted[u]; ok {
				return dmcore.Dev(w.Name), nil
			}
		}
		return d, nil
	})
	if err != nil {
		return t.String()
	}
	return strings.ReplaceAll(named.String(), "\n", "; ")
}

// bring plans one wanted device.
func (p *planner) bring(w Activation) error {
	h := p.byUUID[w.UUID]
	load := Step{Do: dmcore.Load, Name: w.Name, UUID: w.UUID, Table: w.Table, ReadOnly: w.ReadOnly}
	if h == nil {
		if other := p.byName[w.Name]; other != nil {
			return fmt.Errorf("device %s: is there with the uuid %s: %w", w.Name, other.Info.UUID, ErrExists)
		}
		p.prepare(Step{Do: dmcore.Create, Name: w.Name, UUID: w.UUID, Minor: w.Minor})
	} else if isPart(h.Info) && !w.ReadOnly {
		return fmt.Errorf("device %s: part of a thin pool, is active by itself, deactivate it first: %w", h.Info.Name, ErrInUse)
	} else if load.Name = h.Info.Name; h.Info.Inactive {
		p.prepare(Step{Do: dmcore.Clear, Name: h.Info.Name, UUID: w.UUID})
	}
	if h != nil && h.Info.Name != w.Name {
		p.rename = append(p.rename, Step{Do: dmcore.Rename, Name: h.Info.Name, UUID: w.UUID, NewName: w.Name})
	}
	fresh := h == nil || !h.Info.Live
	if w.Hold {
		p.hold(w.UUID, layerOf(w.UUID) == "")
	}
	if !fresh && sameTable(h.Table, w.Table) && h.Info.ReadOnly == w.ReadOnly {
		if h.Info.Suspended {
			p.resume[w.UUID] = true
		}
		if p.partsGrow(w) {
			p.hold(w.UUID, false)
		}
		return nil
	}
	p.prepare(load)
	p.plan.loaded = append(p.plan.loaded, w)
	if fresh && p.below[w.UUID] {
		// Nothing uses it yet, and what stands on it wants to know its size.
		p.prepare(Step{Do: dmcore.Resume, Name: load.Name, UUID: w.UUID})
		return nil
	}
	p.resume[w.UUID] = true
	if !fresh {
		p.hold(w.UUID, false)
		if real, ok := snapshotOf(h.Table); ok { // and is none any more
			p.hold(p.fed[real], false)
		}
	}
	if real, ok := snapshotOf(w.Table); ok {
		// The instant of the snapshot; and its origin reckons anew how to
		// split I/O when it is resumed (drivers/md/dm-snap.c, origin_resume).
		p.hold(p.fed[real], fresh)
	}
	return nil
}

// hold has a live device suspended over the commit.
func (p *planner) hold(u dmcore.UUID, freeze bool) {
	h := p.byUUID[u]
	if h == nil || !h.Info.Live {
		return
	}
	p.resume[u] = true
	if h.Info.Suspended {
		return
	}
	o, ok := p.suspend[u]
	o.SkipLockFS = !freeze && (!ok || o.SkipLockFS)
	o.NoFlush = ofPool(u)
	p.suspend[u] = o
}

// drop plans the devices that are not wanted. If none is, they go before the
// commit, so that no device is left on extents that it frees.
func (p *planner) drop() error {
	var gone []Step
	held := p.held()
	for i := range p.have {
		h := &p.have[i]
		u := h.Info.UUID
		if _, ok := p.wanted[u]; ok || held[u] {
			continue
		}
		if (h.top() || isPart(h.Info)) && h.Info.OpenCount > 0 {
			return fmt.Errorf("device %s: is open %d times: %w", h.Info.Name, h.Info.OpenCount, ErrInUse)
		}
		if h.Info.Inactive {
			p.prepare(Step{Do: dmcore.Clear, Name: h.Info.Name, UUID: u})
		}
		if len(p.want) > 0 {
			p.defuse(h)
		}
		gone = append(gone, Step{Do: dmcore.Remove, Name: h.Info.Name, UUID: u})
	}
	slices.SortStableFunc(gone, func(a, b Step) int { return p.topDown(a.UUID, b.UUID) })
	if len(p.want) == 0 {
		p.plan.Prepare = append(p.plan.Prepare, gone...)
		return nil
	}
	p.plan.Cleanup = append(gone, p.rename...)
	return nil
}

// defuse replaces what a volume that goes is mapped to, in the window: once the
// commit has freed its extents, nothing may be written to it, nor copied into
// the store of a snapshot whose origin stays. Removing it there could fail
// (udev may have it open), a resume does not.
func (p *planner) defuse(h *Device) {
	u := h.Info.UUID
	if layerOf(u) != "" || !h.Info.Live || isFailing(h.Table) {
		return
	}
	p.prepare(Step{Do: dmcore.Load, Name: h.Info.Name, UUID: u, Table: whole(h.Table.Len(), dmcore.Failing{})})
	p.hold(u, false)
	if real, ok := snapshotOf(h.Table); ok {
		p.hold(p.fed[real], false)
	}
}

func isFailing(t dmcore.Table) bool { return len(t) == 1 && t[0].Target == dmcore.Failing{} }

func layerOf(u dmcore.UUID) string {
	if _, layer, ok := strings.Cut(strings.TrimPrefix(string(u), "LVM-"), "-"); ok {
		return layer
	}
	return ""
}

// topDown orders devices there are: what stands on others first, and origins
// before their snapshots.
func (p *planner) topDown(a, b dmcore.UUID) int {
	feeder := func(u dmcore.UUID) int {
		if _, ok := feeds(p.byUUID[u].Table); ok {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(p.height[b], p.height[a]), cmp.Compare(feeder(a), feeder(b)))
}

// order fills the window.
func (p *planner) order() {
	for _, h := range p.have {
		if o, ok := p.suspend[h.Info.UUID]; ok {
			p.plan.Suspend = append(p.plan.Suspend, Step{Do: dmcore.Suspend, Name: h.Info.Name, UUID: h.Info.UUID, SkipLockFS: o.SkipLockFS, NoFlush: o.NoFlush})
		}
	}
	slices.SortStableFunc(p.plan.Suspend, func(a, b Step) int { return p.topDown(a.UUID, b.UUID) })

	var up []Activation
	for _, h := range p.have { // defused snapshots, before what fed them
		if _, ok := p.wanted[h.Info.UUID]; !ok && p.resume[h.Info.UUID] {
			up = append(up, Activation{Name: h.Info.Name, UUID: h.Info.UUID})
		}
	}
	for _, w := range p.want {
		if p.resume[w.UUID] {
			up = append(up, w)
		}
	}
	slices.SortStableFunc(up, func(a, b Activation) int { return cmp.Compare(p.rank(a), p.rank(b)) })
	for _, w := range up {
		name := w.Name
		if h := p.byUUID[w.UUID]; h != nil {
			name = h.Info.Name
		}
		p.plan.Resume = append(p.plan.Resume, Step{Do: dmcore.Resume, Name: name, UUID: w.UUID, left: isFailing(w.Table)})
	}
}

// rank orders resumes (libdm/libdm-deptree.c, activation_priority): what lies
// below, then volumes and snapshots, then origins, which feed them, and last
// what a merging snapshot leaves behind: its table must be replaced after the
// merge took its exceptions over (drivers/md/dm-snap.c, snapshot_preresume).
func (p *planner) rank(w Activation) int {
	if w.Table == nil || p.below[w.UUID] {
		return 0
	}
	if _, ok := feeds(w.Table); ok {
		return 2
	}
	if isFailing(w.Table) {
		return 3
	}
	return 1
}
