package lvm

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// thinKernel is a fakeDM as a Control, with thin pools: which volumes there are in
// one, and its transaction id, outlive the devices, as they do on disk. It dies
// before command number die (-1: never), and with it the power of the disks.
type thinKernel struct {
	*fakeDM
	pools map[dmcore.UUID]*kernelPool // by the UUID of their metadata
	rig   *rig
	die   int
	dead  bool
	wrong []string // what a kernel would not refuse, but nobody may do
	full  bool     // pools tell that they are out of data space
	check bool     // pools tell that their metadata needs a check
}

type kernelPool struct {
	id   uint64
	thin map[uint32]int // what each volume holds
}

func newThinKernel(r *rig) *thinKernel {
	return &thinKernel{fakeDM: newFakeDM(), pools: map[dmcore.UUID]*kernelPool{}, rig: r, die: -1}
}

// tick counts commands, and dies.
func (k *thinKernel) tick() error {
	if k.die == 0 && !k.dead {
		k.dead = true
		k.rig.power.CutAt(1)
	}
	k.die--
	if k.dead || k.rig.power != nil && k.gone() {
		return dmcore.ErrUnavailable
	}
	return nil
}

// gone asks a disk whether there is power.
func (k *thinKernel) gone() bool {
	_, err := k.rig.devs[k.rig.Devices[0]].ReadAt(make([]byte, 1), 0)
	return err != nil
}

func (k *thinKernel) Do(_ context.Context, cmd dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
	if err := k.tick(); err != nil {
		return nil, err
	}
	switch cmd {
	case dmcore.List:
		var infos []dmcore.Info
		for _, u := range slices.Sorted(maps.Keys(k.devs)) {
			infos = append(infos, k.info(u))
		}
		return &dmcore.Reply{Devices: infos}, nil
	case dmcore.Settle:
		return &dmcore.Reply{}, nil
	case dmcore.Create:
		err := k.do(Step{Do: cmd, Name: r.Name, UUID: r.UUID})
		if err != nil {
			return nil, err
		}
		return &dmcore.Reply{Info: k.info(r.UUID)}, nil
	}
	d := k.devs[r.UUID]
	if d == nil {
		return nil, &dmcore.Error{Cmd: cmd, Name: dmcore.Name(r.UUID), Err: dmcore.ErrNotFound}
	}
	reply := &dmcore.Reply{}
	var err error
	switch cmd {
	case dmcore.Status:
	case dmcore.TableOf:
		reply.Table, err = k.numbered(d.live)
	case dmcore.TargetStatusOf:
		reply.Targets, err = k.status(d)
	case dmcore.Message:
		err = k.message(d, r.Text)
	case dmcore.Load:
		var t dmcore.Table
		if t, err = k.named(r.Table); err == nil {
			err = k.loadable(t)
		}
		if err == nil {
			err = k.do(Step{Do: cmd, Name: d.info.Name, UUID: r.UUID, Table: t, ReadOnly: r.ReadOnly})
		}
	default:
		err = k.do(Step{Do: cmd, Name: d.info.Name, UUID: r.UUID, NewName: r.NewName})
	}
	if err != nil {
		return nil, &dmcore.Error{Cmd: cmd, Name: d.info.Name, Err: err}
	}
	if k.devs[r.UUID] != nil {
		reply.Info = k.info(r.UUID)
	}
	return reply, nil
}

func (k *thinKernel) info(u dmcore.UUID) dmcore.Info {
	d := k.devs[u]
	i := d.info
	i.Live, i.Inactive, i.ReadOnly = len(d.live) > 0, len(d.inactive) > 0, d.ro
	i.OpenCount += len(k.users(u))
	return i
}

func (k *thinKernel) numbered(t dmcore.Table) (dmcore.Table, error) {
	return t.Resolve(func(ref dmcore.Dev) (dmcore.Dev, error) {
		if u, ok := ref.UUID(); ok {
			return k.devs[u].info.Dev.Dev(), nil
		}
		return ref, nil
	})
}

func (k *thinKernel) named(t dmcore.Table) (dmcore.Table, error) {
	return t.Resolve(func(ref dmcore.Dev) (dmcore.Dev, error) {
		for u, d := range k.devs {
			if d.info.Dev.Dev() == ref {
				return u.Dev(), nil
			}
		}
		return ref, nil
	})
}

func (p *kernelPool) has(id uint32) bool { _, ok := p.thin[id]; return ok }

// pool is what is on a pool's metadata.
func (k *thinKernel) pool(t dmcore.Table) *kernelPool {
	if len(t) != 1 {
		return nil
	}
	p, ok := t[0].Target.(dmcore.ThinPool)
	if !ok {
		return nil
	}
	u, _ := p.Metadata.UUID()
	if k.pools[u] == nil {
		k.pools[u] = &kernelPool{thin: map[uint32]int{}}
	}
	return k.pools[u]
}

// loadable refuses a thin volume that its pool does not have.
func (k *thinKernel) loadable(t dmcore.Table) error {
	k.pool(t)
	if len(t) != 1 {
		return nil
	}
	if thin, ok := t[0].Target.(dmcore.Thin); ok {
		u, _ := thin.Pool.UUID()
		if p := k.pool(k.devs[u].live); p == nil || !p.has(thin.DeviceID) {
			return fmt.Errorf("device id %d is not in the pool: %w", thin.DeviceID, dmcore.ErrInvalid)
		}
	}
	return nil
}

func (k *thinKernel) status(d *fakeDev) ([]dmcore.TargetStatus, error) {
	st := dmcore.TargetStatus{Type: "linear"}
	if len(d.live) == 1 {
		st.Type, st.Length = d.live[0].Target.Type(), d.live[0].Length
		if s, ok := d.live[0].Target.(dmcore.Snapshot); ok {
			cow, _ := s.COW.UUID()
			st.Params = fmt.Sprintf("%d/%d %d", 2*s.Chunk, k.devs[cow].live.Len(), 2*s.Chunk)
		}
		if p := k.pool(d.live); p != nil {
			s := dmcore.ThinPoolStatus{TransactionID: p.id, UsedMetadata: 10, TotalMetadata: 512, TotalData: 100, Mode: dmcore.ThinPoolWritable, Discard: dmcore.DiscardPassdown, LowWater: 1}
			if k.full {
				s.Mode, s.UsedData = dmcore.ThinPoolOutOfDataSpace, 100
			}
			if k.check {
				s.Mode, s.NeedsCheck = dmcore.ThinPoolReadOnly, true
			}
			st.Params = s.String()
		}
	}
	return []dmcore.TargetStatus{st}, nil
}

// activeThin is the device of a thin volume, nil if it has none.
func (k *thinKernel) activeThin(pool dmcore.UUID, id uint32) *fakeDev {
	for _, d := range k.devs {
		if len(d.live) == 1 {
			if t, ok := d.live[0].Target.(dmcore.Thin); ok && t.Pool == pool.Dev() && t.DeviceID == id {
				return d
			}
		}
	}
	return nil
}

func (k *thinKernel) message(d *fakeDev, text string) error {
	p := k.pool(d.live)
	if p == nil || d.info.Suspended {
		return dmcore.ErrInvalid
	}
	var a, b uint64
	word, rest, _ := strings.Cut(text, " ")
	fmt.Sscan(rest, &a, &b)
	switch word {
	case "create_thin", "create_snap":
		if p.has(uint32(a)) {
			return unix.EEXIST
		}
		if word == "create_snap" {
			if !p.has(uint32(b)) {
				return unix.ENODATA
			}
			if o := k.activeThin(d.info.UUID, uint32(b)); o != nil && !o.info.Suspended {
				k.wrong = append(k.wrong, text+": the origin is not suspended")
			}
		}
		p.thin[uint32(a)] = p.thin[uint32(b)] // of an empty one b is 0, and holds nothing
	case "delete":
		if !p.has(uint32(a)) {
			return unix.ENODATA
		}
		if k.activeThin(d.info.UUID, uint32(a)) != nil {
			return dmcore.ErrBusy
		}
		delete(p.thin, uint32(a))
	case "set_transaction_id":
		if p.id != a {
			return dmcore.ErrInvalid
		}
		p.id = b
	default:
		return dmcore.ErrInvalid
	}
	return nil
}

// thinWorld is an engine on disks and a kernel that may die.
type thinWorld struct {
	*Engine
	*thinKernel
	t testing.TB
}

func newThinWorld(t testing.TB, r *rig, k *thinKernel) *thinWorld {
	k.rig = r
	w := &thinWorld{&Engine{Store: r.Store, DM: dmcore.NewClient(k), Locks: Locks{Dir: filepath.Join(t.TempDir(), "lock")}, Host: "test"}, k, t}
	w.Trace = func(step string) error {
		if strings.HasPrefix(step, "dm: ") { // the command itself counts
			return nil
		}
		return k.tick()
	}
	return w
}

// fresh is a group of 64 KiB extents on two disks.
func freshThinWorld(t testing.TB) *thinWorld {
	r := newRig(2)
	r.group(t, "vg", PVOptions{}, "m0", "m1")
	return newThinWorld(t, r, newThinKernel(r))
}

// again is a copy of the world after a reboot or, with devices, after only the
// process died.
func (w *thinWorld) again(t testing.TB, keep int, devices bool) *thinWorld {
	r := w.rig.reboot(testRand, keep)
	k := newThinKernel(r)
	for u, p := range w.pools {
		k.pools[u] = &kernelPool{p.id, maps.Clone(p.thin)}
	}
	if devices {
		k.next = w.next
		for u, d := range w.devs {
			c := *d
			k.devs[u] = &c
		}
	}
	return newThinWorld(t, r, k)
}

// settled brings everything up, and checks that kernel and metadata agree.
func (w *thinWorld) settled(when string) string {
	t := w.t
	t.Helper()
	if _, err := w.Recover(t.Context()); err != nil {
		t.Fatalf("%s: recover: %v", when, err)
	}
	vg := w.rig.load(t, "vg")
	for _, lv := range vg.ShownLVs() {
		if err := w.Activate(t.Context(), Ref{"vg", lv.Name}); err != nil {
			t.Fatalf("%s: activate %s: %v\n%s", when, lv.Name, err, w.fakeDM)
		}
	}
	// What is left of volumes that never were goes with the next change.
	if err := w.Tag(t.Context(), Ref{VG: "vg"}, []string{"settled"}, nil); err != nil {
		t.Fatalf("%s: the next change: %v", when, err)
	}
	vg = w.rig.load(t, "vg")
	must(t, vg.Validate())
	for _, pool := range vg.LVs {
		p := pool.ThinPool()
		if p == nil {
			continue
		}
		if len(p.Messages) > 0 {
			t.Errorf("%s: %s has messages left: %v", when, pool.Name, p.Messages)
		}
		k := w.pools[vg.uuid(vg.LV(p.Metadata), layerTMeta)]
		ids := map[uint32]bool{}
		for _, lv := range vg.ThinVolumes(pool.Name) {
			ids[lv.Thin().DeviceID] = true
		}
		if k == nil || k.id != p.TransactionID || !maps.EqualFunc(k.thin, ids, func(int, bool) bool { return true }) {
			t.Errorf("%s: %s is at %d with %v, the kernel has %+v", when, pool.Name, p.TransactionID, ids, k)
		}
	}
	for u, d := range w.devs {
		if d.info.Suspended || len(d.inactive) > 0 {
			t.Errorf("%s: %s is left %+v", when, d.info.Name, d.info)
		}
		if _, id, _ := split(u); vg.LVByID(id) == nil {
			t.Errorf("%s: %s is left", when, d.info.Name)
		}
	}
	if len(w.wrong) > 0 {
		t.Errorf("%s: %v", when, w.wrong)
	}
	return order(vg)
}
