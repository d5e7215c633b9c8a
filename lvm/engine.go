package lvm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cowhand/dmcore"
)

// Engine carries changes of groups out, on the metadata and on the devices.
// Each method leaves the state before or the state after. Methods are safe for
// concurrent use, also from several processes: each takes the lock of every
// group it changes.
type Engine struct {
	Store *Store
	DM    *dmcore.Client
	Locks Locks
	Host  string           // for the stamps of volumes
	Now   func() time.Time // nil: time.Now
	// Trace, if set, is told every step of a change before it is done. Its
	// error stops the change there, as a crash test does.
	Trace func(step string) error
	// Warn is told what went wrong beside a change that stands: a copy of the
	// metadata that could not be written to a file, an area of several that did
	// not take it. Nil: nobody is.
	Warn func(error)
	// Elsewhere lists LVM's devices that another device mapper has, see
	// [KernelDevices]. Their volumes are left alone: two that map one volume
	// know nothing of each other's writers. Nil: there is no other.
	Elsewhere func() (map[dmcore.UUID]bool, error)
	// Node tells how tables name the physical volume that was found at a path.
	// Nil: by the path, as the userspace machine does; the kernel wants a
	// device number.
	Node func(path string) (dmcore.Dev, error)
	// Guard is called before the first device is suspended, with the groups
	// concerned: from then on somebody else must be ready to put their devices
	// in order should this process die, and memory must not be paged out. Done
	// ends that. Nil: the device mapper itself notices that we are gone.
	Guard func(ctx context.Context, groups []ID) (Guardian, error)
	// Probed reports a device that only those have open who look at every new
	// device, as udev does: they read a little and go. Nil: nobody does.
	Probed func(dmcore.Info) bool
	// PoolThreshold is the percentage of a thin pool's data at which the kernel is
	// to raise an event, see [ActivateOptions]; nil: none.
	PoolThreshold func(vg *VG, pool *LV) int
	// ReadAheads is told how much to read in advance from devices that got a table.
	// Nil: that is left as it is.
	ReadAheads ReadAheads
	// LockPatience is how long Reconcile waits for a group's lock before it puts
	// devices in order without it; 0: 5 s. Who knows that no process of ours has
	// the lock any more waits longer: the one that has is at work.
	LockPatience time.Duration
	// Patience is how long WaitClosed waits; 0: 10 s.
	Patience time.Duration
	// Window bounds the time between the first suspend and the commit; 0: 10 s.
	Window time.Duration
}

// ErrInactive is a volume that would have to be active.
var ErrInactive = errors.New("volume is not active")

// Groups returns every group that can be used, sorted by name. Those that
// cannot (foreign, ambiguous, damaged) are left out; [Store.Scan] tells of them.
func (e *Engine) Groups(ctx context.Context) ([]*VG, error) {
	listing, err := e.Store.Scan(ctx)
	if err != nil {
		return nil, err
	}
	var groups []*VG
	for _, g := range listing.Groups {
		if g.Err == nil {
			groups = append(groups, g.VG)
		}
	}
	return groups, nil
}

// Group returns one group.
func (e *Engine) Group(ctx context.Context, name string) (*VG, error) {
	return e.Store.Load(ctx, name)
}

// State is what a volume's device is doing.
type State struct {
	Dev       dmcore.DevNo
	Active    bool // has a device with a table
	Suspended bool
	OpenCount int
	Snapshot  *dmcore.SnapshotStatus // of a snapshot, or of an origin that is being merged into
	Pool      *dmcore.ThinPoolStatus // of a thin pool that is live, if only for what is in it
	// Merging says that the metadata records a merge: of a snapshot, that it
	// is to be merged; of an origin, that one is to be merged into it.
	Merging bool
	// Copying says that the merge is under way; a merge that is recorded but
	// not copying waits for the next activation.
	Copying bool
}

// Open reports that something uses the device.
func (s State) Open() bool { return s.OpenCount > 0 }

// States tells what the devices of a group's volumes are doing, by the names
// of volumes. Volumes without a device are there too, with the zero State but
// for Merging.
func (e *Engine) States(ctx context.Context, vg *VG) (map[string]State, error) {
	devices, err := e.devices(ctx)
	if err != nil {
		return nil, err
	}
	states := map[string]State{}
	links := vg.links()
	for _, lv := range vg.LVs {
		if links.helpers[lv.Name] {
			continue
		}
		var st State
		k, isSnapshot := links.byCOW[lv.Name]
		_, isTarget := links.merging(lv.Name)
		st.Merging = isTarget || isSnapshot && k.seg.Merging || links.thin.merge[lv.Name] != nil || lv.Thin() != nil && lv.Thin().Merge != ""
		if info, ok := devices[vg.uuid(lv, links.own(lv))]; ok && info.Live {
			st.Dev, st.Active, st.Suspended, st.OpenCount = info.Dev, true, info.Suspended, info.OpenCount
			if isSnapshot || isTarget {
				if err := e.status(ctx, info.UUID, &st); err != nil {
					return nil, err
				}
			}
		}
		if pool, ok := devices[vg.uuid(lv, layerTPool)]; ok && pool.Live && lv.ThinPool() != nil {
			s, err := e.DM.ThinPoolStatus(ctx, pool.UUID)
			if err != nil && !errors.Is(err, dmcore.ErrNotFound) {
				return nil, err
			}
			if err == nil {
				st.Pool = &s
			}
		}
		states[lv.Name] = st
	}
	for _, k := range links.all { // a merging snapshot shares its origin's progress
		if origin := states[k.seg.Origin]; k.seg.Merging && origin.Copying {
			st := states[k.seg.COW]
			st.Snapshot, st.Copying = origin.Snapshot, true
			states[k.seg.COW] = st
		}
	}
	return states, nil
}

func (e *Engine) status(ctx context.Context, uuid dmcore.UUID, st *State) error {
	targets, err := e.DM.Status(ctx, uuid)
	if errors.Is(err, dmcore.ErrNotFound) { // removed since it was listed
		*st = State{Merging: st.Merging}
		return nil
	}
	if err != nil || len(targets) != 1 {
		return err
	}
	switch targets[0].Type {
	case "snapshot", "snapshot-merge":
		s, err := dmcore.ParseSnapshotStatus(targets[0].Params)
		if err != nil {
			return err
		}
		st.Snapshot, st.Copying = &s, targets[0].Type == "snapshot-merge"
	}
	return nil
}

// devices lists all devices by UUID.
func (e *Engine) devices(ctx context.Context) (map[dmcore.UUID]dmcore.Info, error) {
	list, err := e.DM.List(ctx)
	if err != nil {
		return nil, err
	}
	m := make(map[dmcore.UUID]dmcore.Info, len(list))
	for _, d := range list {
		m[d.UUID] = e.seen(d)
	}
	return m, nil
}

// seen is a device as decisions want it: who only probes it does not hold it.
func (e *Engine) seen(info dmcore.Info) dmcore.Info {
	if info.OpenCount > 0 && layerOf(info.UUID) == "" && e.Probed != nil && e.Probed(info) {
		info.OpenCount = 0
	}
	return info
}

// options say how the group's volumes are mapped.
func (e *Engine) options(vg *VG) ActivateOptions {
	o := ActivateOptions{PVDevice: e.nodes(vg)}
	if e.PoolThreshold != nil {
		o.PoolThreshold = func(pool *LV) int { return e.PoolThreshold(vg, pool) }
	}
	return o
}

func (e *Engine) now() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

func (e *Engine) stamp() Stamp { return Stamp{Time: e.now(), Host: e.Host} }

func (e *Engine) warn(err error) {
	if e.Warn != nil {
		e.Warn(err)
	}
}

func (e *Engine) trace(format string, args ...any) error {
	if e.Trace == nil {
		return nil
	}
	return e.Trace(fmt.Sprintf(format, args...))
}

// cleanup is a context for what must be done although ctx ended.
func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}
