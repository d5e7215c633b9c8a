package lvm

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cowhand/dmcore"
)

// Part is which part of a volume fills.
type Part string

// A snapshot has one part, "", and a thin pool two.
const (
	PoolData     Part = "data"
	PoolMetadata Part = "metadata"
)

// Space is what writes fill: the store of a snapshot, or a part of a thin pool.
type Space struct {
	Ref
	Part Part
}

func (s Space) String() string {
	if s.Part == "" {
		return s.Ref.String()
	}
	return fmt.Sprintf("%s (%s)", s.Ref, s.Part)
}

// Fill is how full a space is.
type Fill struct {
	Space
	Used float64 // percent
	// Lost says that it ran full or was damaged: a snapshot that is invalid, a
	// pool that failed. Used is 100 then.
	Lost bool
	// Whole says that it holds all that can ever be written, and so never runs full.
	Whole bool
}

// Fills is what was seen at one look.
type Fills struct {
	Spaces []Fill
	// Groups are those that were looked at, by name: of a space in another nobody
	// knows.
	Groups map[string]*VG
	// Events are the devices that tell when something becomes of them, with the
	// numbers of their events before the look: pools when they get short of
	// space, snapshots when they are lost and, in the userspace engine, merges
	// when they are complete. None tells how a snapshot fills (Linux 6.1,
	// drivers/md/dm-snap.c).
	Events map[dmcore.UUID]uint32
}

// fills looks at the active snapshots and thin pools of all groups, and hands
// each to see. Groups that cannot be looked at are in the error.
func (e *Engine) fills(ctx context.Context, see func(vg *VG, f Fill)) (Fills, error) {
	fs := Fills{Groups: map[string]*VG{}, Events: map[dmcore.UUID]uint32{}}
	groups, err := e.Groups(ctx)
	if err != nil {
		return fs, err
	}
	devices, err := e.devices(ctx) // before their states: an event between the two is not missed
	if err != nil {
		return fs, err
	}
	var errs []error
	for _, vg := range groups {
		seen, events, err := e.fillsOf(ctx, vg, devices)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fs.Groups[vg.Name] = vg
		fs.Spaces = append(fs.Spaces, seen...)
		for _, u := range events {
			fs.Events[u] = devices[u].EventNr
		}
		for _, f := range seen {
			see(vg, f)
		}
	}
	return fs, errors.Join(errs...)
}

func (e *Engine) fillsOf(ctx context.Context, vg *VG, devices map[dmcore.UUID]dmcore.Info) (seen []Fill, events []dmcore.UUID, err error) {
	states, err := e.States(ctx, vg)
	if err != nil {
		return nil, nil, err
	}
	links := vg.links()
	for _, k := range links.all {
		snap, origin := vg.LV(k.seg.COW), vg.LV(k.seg.Origin)
		switch {
		case snap == nil || origin == nil:
		case k.seg.Merging:
			if states[snap.Name].Copying {
				events = append(events, vg.uuid(origin, ""))
			}
		default:
			f, ok := snapshotFill(states[snap.Name])
			if !ok {
				continue
			}
			f.Space = Space{Ref: Ref{vg.Name, snap.Name}}
			f.Whole = snap.Extents() >= COWMaximum(vg.Size(origin), k.seg.ChunkSize, vg.ExtentSize)
			seen, events = append(seen, f), append(events, vg.uuid(snap, ""))
		}
	}
	for _, lv := range vg.LVs {
		u := vg.uuid(lv, layerTPool)
		if lv.ThinPool() == nil || !devices[u].Live {
			continue
		}
		st, err := e.DM.ThinPoolStatus(ctx, u)
		if errors.Is(err, dmcore.ErrNotFound) || errors.Is(err, dmcore.ErrInvalid) { // removed, or mapped anew, since it was listed
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		seen, events = append(seen, poolFill(Ref{vg.Name, lv.Name}, st)...), append(events, u)
	}
	return seen, events, nil
}

// snapshotFill is how full an active snapshot is.
func snapshotFill(st State) (f Fill, ok bool) {
	if !st.Active || st.Snapshot == nil {
		return f, false
	}
	return Fill{Used: st.Snapshot.Percent(), Lost: st.Snapshot.State != dmcore.SnapshotOK}, true
}

// poolFill is how full the parts of a pool are. One whose status cannot be read
// just now ([dmcore.ThinError]) tells nothing.
func poolFill(pool Ref, st dmcore.ThinPoolStatus) []Fill {
	switch st.State {
	case dmcore.ThinFail:
		return []Fill{{Space: Space{pool, PoolData}, Used: 100, Lost: true}}
	case dmcore.ThinOK:
		data, _ := st.DataPercent()
		metadata, _ := st.MetadataPercent()
		return []Fill{{Space: Space{pool, PoolData}, Used: data}, {Space: Space{pool, PoolMetadata}, Used: metadata}}
	}
	return nil
}

// soonest is how long it pays to wait at least before spaces are looked at again.
const soonest = 100 * time.Millisecond

// Pace tells how soon spaces have to be looked at again, by how fast they filled.
type Pace struct {
	used, speed map[Space]float64 // percent, and percent in a second
}

// Next is how long to wait after a look that found these, at most most: a quarter
// of the time in which the fastest will be full. spent is the time since the look
// before. Writers come in bursts, so a speed is forgotten little by little.
func (p *Pace) Next(now []Fill, spent, most time.Duration) time.Duration {
	used, speed := map[Space]float64{}, map[Space]float64{}
	next := most
	for _, f := range now {
		used[f.Space] = f.Used
		was, ok := p.used[f.Space]
		if !ok || f.Lost || spent <= 0 {
			continue
		}
		v := max((f.Used-was)/spent.Seconds(), p.speed[f.Space]*3/4)
		if v < 1e-6 { // full in some years
			continue
		}
		speed[f.Space] = v
		next = min(next, time.Duration((100-f.Used)/v/4*float64(time.Second)))
	}
	p.used, p.speed = used, speed
	return max(next, soonest)
}
