package lvm

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"cowhand/dmcore/blockdev"
)

// rig is a store on devices that crash, all on one power supply.
type rig struct {
	*Store
	power *blockdev.Power
	devs  map[string]*blockdev.Crash
	open  int // devices open now
}

const testDevice = 8 << 20

// newRig has n devices of 8 MiB, m0, m1…
func newRig(n int) *rig {
	r := &rig{power: new(blockdev.Power), devs: map[string]*blockdev.Crash{}}
	r.Store = &Store{Open: r.openDevice, Host: "test", Command: "cowhand test", Now: func() time.Time { return time.Unix(1800000000, 0).UTC() }}
	for i := range n {
		path := fmt.Sprintf("m%d", i)
		r.Devices = append(r.Devices, path)
		r.devs[path] = blockdev.NewCrashOn(r.power, blockdev.NewMem(testDevice))
	}
	return r
}

type closing struct {
	blockdev.Device
	close func()
}

func (c closing) Close() error { c.close(); return nil }

func (r *rig) openDevice(path string, _ bool) (blockdev.Device, error) {
	d := r.devs[path]
	if d == nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if r.Store != nil {
		r.mu.Lock()
		r.open++
		r.mu.Unlock()
	}
	return closing{d, func() { r.mu.Lock(); r.open--; r.mu.Unlock() }}, nil
}

// reboot is the rig after a power cut now: of what was not synced, each sector
// is there with keep percent.
func (r *rig) reboot(rng *rand.Rand, keep int) *rig {
	n := newRig(0)
	n.Devices = r.Devices
	for _, path := range r.Devices {
		n.devs[path] = blockdev.NewCrashOn(n.power, r.devs[path].Clone(rng, keep))
	}
	return n
}

// group makes PVs of all devices that have no label yet, and a group of them.
func (r *rig) group(t testing.TB, name string, o PVOptions, paths ...string) *VG {
	t.Helper()
	for _, path := range paths {
		if _, err := r.CreatePV(t.Context(), path, o); err != nil {
			t.Fatal(err)
		}
	}
	vg, err := r.CreateVG(t.Context(), VGSpec{Name: name, ExtentSize: 128, PVs: paths})
	if err != nil {
		t.Fatal(err)
	}
	return vg
}

// commit changes the tags of a group, so that texts differ.
func (r *rig) commit(t testing.TB, vg *VG, tags ...string) *VG {
	t.Helper()
	next := vg.Clone()
	next.Tags = tags
	p, err := r.Prepare(t.Context(), next)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Commit(); err != nil {
		t.Fatal(err)
	}
	return r.load(t, vg.Name)
}

func (r *rig) load(t testing.TB, name string) *VG {
	t.Helper()
	vg, err := r.Load(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return vg
}

func testSeed(t testing.TB) *rand.Rand {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("COWHAND_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("COWHAND_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// errTest is what a device is told to fail with.
var errTest = errors.New("injected")

func (r *rig) small() *blockdev.Crash { return blockdev.NewCrash(1 << 20) }
