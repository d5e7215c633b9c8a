package lvm

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// devices is what the device mapper has, and the hand that changes it.
type devices struct {
	e      *Engine
	infos  []dmcore.Info
	tables map[dmcore.UUID]dmcore.Table
	number map[dmcore.UUID]dmcore.DevNo
	shared map[dmcore.UUID]bool // other units may stand on them

	changed bool // a step was tried
}

// look lists LVM's devices with their live tables.
func (e *Engine) look(ctx context.Context) (*devices, error) {
	infos, err := e.DM.List(ctx)
	if err != nil {
		return nil, err
	}
	d := &devices{e: e, tables: map[dmcore.UUID]dmcore.Table{}, number: map[dmcore.UUID]dmcore.DevNo{}}
	for _, i := range infos {
		if strings.HasPrefix(string(i.UUID), uuidPrefix) {
			d.infos = append(d.infos, i)
			d.number[i.UUID] = i.Dev
		}
	}
	return d, nil
}

const uuidPrefix = "LVM-"

// split takes a UUID apart: the group's and the volume's ID.
func split(u dmcore.UUID) (vg, lv ID, ok bool) {
	s, ok := strings.CutPrefix(string(u), uuidPrefix)
	if !ok || len(s) < 64 {
		return "", "", false
	}
	return ID(s[:32]), ID(s[32:64]), true
}

// active reports whether the volume's own device has a table.
func (d *devices) active(vg *VG, lv *LV) bool {
	return d.live(vg.DeviceUUID(lv))
}

// live reports whether a device is there and has a table.
func (d *devices) live(u dmcore.UUID) bool {
	return slices.ContainsFunc(d.infos, func(i dmcore.Info) bool { return i.UUID == u && i.Live })
}

// plan plans the devices of the units touched, active ones and those to be
// activated. With sweep, devices of the groups whose volume the metadata does not
// know, left by a process that died, go as well.
func (d *devices) plan(ctx context.Context, before, after map[string]*VG, units []touch, sweep bool) (Plan, error) {
	concerned := map[dmcore.UUID]bool{}
	planned := map[dmcore.UUID]bool{}
	var want []Activation
	elsewhere, err := d.e.elsewhere()
	if err != nil {
		return Plan{}, err
	}
	for _, t := range units {
		active := t.activate
		for _, vg := range []*VG{before[t.VG], after[t.VG]} {
			unit, err := vg.Unit(t.LV)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return Plan{}, err
			}
			for _, lv := range unit {
				if err := vg.leftAlone(lv, elsewhere); err != nil {
					return Plan{}, err
				}
				active = active || d.active(vg, lv)
			}
			d.concern(vg, unit, concerned)
		}
		vg := after[t.VG]
		if _, err := vg.Unit(t.LV); err != nil || !active {
			continue
		}
		merged, err := d.thinMerged(ctx, vg, t.LV)
		if err != nil {
			return Plan{}, err
		}
		o := d.e.options(vg)
		o.NoMerging, o.ThinMerged, o.Waiting = t.noMerging, merged, t.waiting
		acts, err := vg.Activations(t.LV, o)
		if err != nil {
			return Plan{}, err
		}
		for _, a := range acts {
			if !planned[a.UUID] {
				planned[a.UUID] = true
				a.Hold = t.hold && a.LV == t.LV && (a.Layer == "" || a.Layer == layerReal)
				want = append(want, a)
			}
		}
	}
	for _, vg := range after {
		if sweep {
			d.orphans(vg, before[vg.Name], concerned)
		}
	}
	have, err := d.have(ctx, after, concerned)
	if err != nil {
		return Plan{}, err
	}
	return PlanDevices(have, want)
}

// concern adds the devices that a unit may have, or share with others.
func (d *devices) concern(vg *VG, unit []*LV, concerned map[dmcore.UUID]bool) {
	own, shared := vg.UnitDevices(unit)
	for _, u := range own {
		concerned[u] = true
	}
	for _, u := range shared {
		concerned[u] = true
		set(&d.shared, u, true)
	}
}

func (e *Engine) elsewhere() (map[dmcore.UUID]bool, error) {
	if e.Elsewhere == nil {
		return nil, nil
	}
	return e.Elsewhere()
}

// leftAlone reports a volume that another device mapper has active.
func (vg *VG) leftAlone(lv *LV, elsewhere map[dmcore.UUID]bool) error {
	own, shared := vg.UnitDevices([]*LV{lv})
	for _, u := range append(own, shared...) {
		if elsewhere[u] {
			return vg.fail(lv.Name, "", fmt.Errorf("another device mapper has it active (the kernel's, or cowhand's in user space): deactivate it there first: %w", ErrInUse))
		}
	}
	return nil
}

// orphans adds the group's devices whose volume neither metadata knows.
func (d *devices) orphans(after, before *VG, concerned map[dmcore.UUID]bool) {
	for i := range d.unknown(after, before) {
		if i.OpenCount == 0 || layerOf(i.UUID) != "" {
			concerned[i.UUID] = true
		}
	}
}

// unknown lists the group's devices whose volume neither metadata knows. It is
// asked for each of thousands of volumes that are activated in turn.
func (d *devices) unknown(after, before *VG) iter.Seq[dmcore.Info] {
	return func(yield func(dmcore.Info) bool) {
		known := make(map[ID]bool, len(after.LVs))
		for _, vg := range []*VG{after, before} {
			for _, lv := range vg.LVs {
				known[lv.ID] = true
			}
		}
		for _, i := range d.infos {
			vgid, lvid, ok := split(i.UUID)
			if ok && vgid == after.ID && !known[lvid] && !yield(i) {
				return
			}
		}
	}
}

// held reports a device that is still there although its volume is in neither
// metadata any more, and was not removed with the other orphans: somebody has it
// open, or had it just then. It is mapped to extents that may be given to another
// volume.
func (d *devices) held(after, before *VG) error {
	for i := range d.unknown(after, before) {
		if layerOf(i.UUID) == "" {
			return fmt.Errorf("device %s: its volume is gone and it is in use, on extents that are free: %w", i.Name, ErrInUse)
		}
	}
	return nil
}

// pvPath is where a physical volume was found.
func (vg *VG) pvPath(id ID) (dmcore.Dev, error) {
	pv := vg.PVByID(id)
	if pv == nil || pv.Missing() || pv.Device == "" {
		return "", ErrMissingPV
	}
	return dmcore.Dev(pv.Device), nil
}

// nodes tells how tables name the physical volumes of a group.
func (e *Engine) nodes(vg *VG) func(ID) (dmcore.Dev, error) {
	return func(id ID) (dmcore.Dev, error) {
		path, err := vg.pvPath(id)
		if err != nil || e.Node == nil {
			return path, err
		}
		return e.Node(string(path))
	}
}

// swept lists the devices after those were removed that a process left which
// died after its commit: their volumes are gone, but their names may be wanted
// again. What cannot be removed now is left to the plan, which can suspend.
func (e *Engine) swept(ctx context.Context, groups map[string]*VG) (*devices, error) {
	d, err := e.look(ctx)
	if err != nil {
		return nil, err
	}
	orphans := map[dmcore.UUID]bool{}
	for _, vg := range groups {
		d.orphans(vg, vg, orphans)
	}
	if len(orphans) == 0 {
		return d, nil
	}
	have, err := d.have(ctx, groups, orphans)
	if err != nil {
		return nil, err
	}
	plan, err := PlanDevices(have, nil)
	if err != nil {
		return nil, err
	}
	if err := d.runAll(ctx, append(plan.Prepare, plan.Cleanup...)); err != nil && !errors.Is(err, dmcore.ErrBusy) {
		return nil, err
	}
	return e.look(ctx)
}

// have lists the devices concerned, with their tables. They must be those of the
// groups as they were found: a copy of a disk has the same IDs on it.
func (d *devices) have(ctx context.Context, groups map[string]*VG, concerned map[dmcore.UUID]bool) ([]Device, error) {
	var have []Device
	for _, i := range d.infos {
		if !concerned[i.UUID] {
			continue
		}
		t, ok := d.tables[i.UUID]
		if !ok && i.Live {
			var err error
			if t, err = d.e.DM.Table(ctx, i.UUID); err != nil {
				return nil, err
			}
			d.tables[i.UUID] = t
		}
		for _, vg := range groups {
			if id, _, ok := split(i.UUID); ok && id == vg.ID {
				if dev := d.strange(vg, t); dev != "" {
					return nil, fmt.Errorf("device %s: is mapped to %s, and %s was found on other disks: %w", i.Name, dev, vg.Name, ErrDuplicate)
				}
			}
		}
		have = append(have, Device{d.e.seen(i), t, d.shared[i.UUID]})
	}
	return have, nil
}

// strange returns a disk of a table on which no physical volume of the group was
// found. One that is not there any more may have got another name.
func (d *devices) strange(vg *VG, t dmcore.Table) dmcore.Dev {
	for _, dev := range t.Devs() {
		if !d.mapped(dev) && !d.ours(vg, dev) {
			return dev
		}
	}
	return ""
}

// mapped reports a reference to a device of LVM's.
func (d *devices) mapped(dev dmcore.Dev) bool {
	return slices.ContainsFunc(d.infos, func(i dmcore.Info) bool { return i.Dev.Dev() == dev })
}

// ours reports a disk that is a physical volume of the group, or gone.
func (d *devices) ours(vg *VG, dev dmcore.Dev) bool {
	id, kind := identifyDev(dev)
	if kind == deviceAbsent {
		return true
	}
	node := d.e.nodes(vg)
	return slices.ContainsFunc(vg.PVs, func(pv *PV) bool {
		if pv.Device == string(dev) {
			return true
		}
		if of, kind := identify(pv.Device); kind != deviceAbsent && of == id {
			return true
		}
		named, err := node(pv.ID) // an image file is mapped through a loop device
		return err == nil && named == dev
	})
}

// identifyDev is identify for a table's reference: a path, or "major:minor".
func identifyDev(dev dmcore.Dev) (deviceIdentity, deviceKind) {
	if filepath.IsAbs(string(dev)) {
		return identify(string(dev))
	}
	var major, minor uint32
	if n, err := fmt.Sscanf(string(dev), "%d:%d", &major, &minor); err != nil || n != 2 || major == 0 {
		return deviceIdentity{}, deviceAbsent
	}
	if _, err := os.Stat(fmt.Sprintf("/sys/dev/block/%d:%d", major, minor)); err != nil {
		return deviceIdentity{}, deviceAbsent
	}
	return deviceIdentity{rdev: unix.Mkdev(major, minor)}, deviceUsable
}

// run does steps until one fails.
func (d *devices) run(ctx context.Context, steps []Step) error {
	for _, s := range steps {
		if err := d.e.trace("dm: %s", s); err != nil {
			return err
		}
		if err := d.step(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// runAll does every step, whatever fails.
func (d *devices) runAll(ctx context.Context, steps []Step) error {
	var errs []error
	for _, s := range steps {
		if err := d.e.trace("dm: %s", s); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, d.step(ctx, s))
	}
	return errors.Join(errs...)
}

// errNotResumed is a device that did not get the table which the metadata asks
// for.
var errNotResumed = errors.New("the new table could not be made live")

// resume makes the new tables live. A device that refuses its own goes on with
// the old one: I/O must not wait for ever. If that was a merge, what stands
// aside for it must not go either, or the kernel gives up the exceptions that the
// merge was to take over (Linux 6.1, drivers/md/dm-snap.c, snapshot_dtr).
func (d *devices) resume(ctx context.Context, steps []Step) error {
	var errs []error
	for _, s := range steps {
		if err := d.e.trace("dm: %s", s); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if s.left && len(errs) > 0 {
			errs = append(errs, d.goOn(ctx, s.UUID))
		} else if err := d.step(ctx, s); err != nil {
			errs = append(errs, fmt.Errorf("%w: %w", errNotResumed, err), d.goOn(ctx, s.UUID))
		}
	}
	return errors.Join(errs...)
}

// goOn lets I/O flow through the table that is live, or was: a device may refuse
// to be resumed after its tables were swapped (Linux 6.1, drivers/md/dm.c,
// dm_resume).
func (d *devices) goOn(ctx context.Context, u dmcore.UUID) error {
	err := d.e.DM.Clear(ctx, u)
	_, again := d.e.DM.Resume(ctx, u)
	if was, ok := d.tables[u]; again != nil && ok {
		if again = d.e.DM.Load(ctx, u, was, false); again == nil {
			_, again = d.e.DM.Resume(ctx, u)
		}
	}
	if !errors.Is(again, dmcore.ErrInvalid) { // it has no table at all
		err = errors.Join(err, again)
	}
	return err
}

// undo takes back what was done of a plan before its commit.
func (d *devices) undo(ctx context.Context, p Plan) error {
	var errs []error
	for _, s := range p.Undo() {
		if err := d.step(ctx, s); !errors.Is(err, dmcore.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// step does one step. Its error names the device as people do, not by the UUID.
func (d *devices) step(ctx context.Context, s Step) error {
	d.changed = true
	err := d.do(ctx, s)
	if e, ok := errors.AsType[*dmcore.Error](err); ok && e.Name == dmcore.Name(s.UUID) {
		return &dmcore.Error{Cmd: e.Cmd, Name: s.Name, Err: e.Err}
	}
	return err
}

func (d *devices) do(ctx context.Context, s Step) error {
	dm := d.e.DM
	switch s.Do {
	case dmcore.Create:
		create := dm.Create
		if s.Minor != nil {
			create = func(ctx context.Context, name dmcore.Name, uuid dmcore.UUID) (dmcore.Info, error) {
				return dm.CreateNumbered(ctx, name, uuid, *s.Minor)
			}
		}
		info, err := create(ctx, s.Name, s.UUID)
		d.number[s.UUID] = info.Dev
		return err
	case dmcore.Load:
		t, err := s.Table.Resolve(d.resolve)
		if err != nil {
			return err
		}
		return dm.Load(ctx, s.UUID, t, s.ReadOnly)
	case dmcore.Clear:
		return dm.Clear(ctx, s.UUID)
	case dmcore.Suspend:
		return dm.Suspend(ctx, s.UUID, dmcore.SuspendOptions{SkipLockFS: s.SkipLockFS, NoFlush: s.NoFlush})
	case dmcore.Resume:
		_, err := dm.Resume(ctx, s.UUID)
		return err
	case dmcore.Remove:
		return dm.Remove(ctx, s.UUID)
	case dmcore.Rename:
		return dm.Rename(ctx, s.UUID, s.NewName)
	case dmcore.Message:
		return dm.SendThin(ctx, s.UUID, dmcore.ThinMessage(s.Text))
	}
	return fmt.Errorf("device %s: %s is no step of a plan: %w", s.Name, s.Do, ErrInvalid)
}

// resolve gives a reference by UUID the device's number.
func (d *devices) resolve(dev dmcore.Dev) (dmcore.Dev, error) {
	u, ok := dev.UUID()
	if !ok {
		return dev, nil
	}
	n, ok := d.number[u]
	if !ok {
		return "", fmt.Errorf("device %s: %w", u, dmcore.ErrNotFound)
	}
	return n.Dev(), nil
}

// groupsOf lists the groups of refs, sorted.
func groupsOf(refs []Ref) []string {
	m := map[string]bool{}
	for _, r := range refs {
		m[r.VG] = true
	}
	return slices.Sorted(maps.Keys(m))
}
