package kernel

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

var (
	volume = dmcore.BuildUUID("iql4DZL9viOg2HPoLshWl7hgwImwasz0", "LnYuBwgdW8yYrLm3nqRKbEBF3Xb4V9cK", "")
	dm5    = dmcore.DevNo{Major: 253, Minor: 5}
	dm6    = dmcore.DevNo{Major: 253, Minor: 6}
)

func TestPlanLinks(t *testing.T) {
	for what, c := range map[string]struct {
		t    touch
		now  *dmcore.Info
		want []link
	}{
		"a volume": {
			touch{"vg-a--b", volume, dm5, false}, &dmcore.Info{UUID: volume, Dev: dm5},
			[]link{{"vg/a-b", "vg-a--b", dm5, true}, {"mapper/vg-a--b", "vg-a--b", dm5, true}}},
		"one that is gone": {
			touch{"vg-a", volume, dm5, false}, nil,
			[]link{{"vg/a", "vg-a", dm5, false}, {"mapper/vg-a", "vg-a", dm5, false}}},
		"one that is hidden now": {
			touch{"vg-a", volume, dm5, true}, &dmcore.Info{UUID: volume, Dev: dm5},
			[]link{{"vg/a", "vg-a", dm5, false}, {"mapper/vg-a", "vg-a", dm5, true}}},
		"a layer": {
			touch{"vg-a-real", volume + "-real", dm5, true}, &dmcore.Info{UUID: volume + "-real", Dev: dm5},
			[]link{{"mapper/vg-a-real", "vg-a-real", dm5, true}}},
		"a thin pool in which nothing was made": {
			touch{"vg-p", volume + "-tpool", dm5, false}, &dmcore.Info{UUID: volume + "-tpool", Dev: dm5},
			[]link{{"vg/p", "vg-p", dm5, true}, {"mapper/vg-p", "vg-p", dm5, true}}},
		"a part of one, for people": {
			touch{"vg-p_tmeta", volume + "-tmeta", dm5, false}, &dmcore.Info{UUID: volume + "-tmeta", Dev: dm5},
			[]link{{"vg/p_tmeta", "vg-p_tmeta", dm5, true}, {"mapper/vg-p_tmeta", "vg-p_tmeta", dm5, true}}},
		"a part of one": {
			touch{"vg-p_tmeta", volume + "-tmeta", dm5, true}, &dmcore.Info{UUID: volume + "-tmeta", Dev: dm5},
			[]link{{"vg/p_tmeta", "vg-p_tmeta", dm5, false}, {"mapper/vg-p_tmeta", "vg-p_tmeta", dm5, true}}},
		"what stands for a thin pool": {
			touch{"vg-p", volume + "-pool", dm5, true}, &dmcore.Info{UUID: volume + "-pool", Dev: dm5},
			[]link{{"vg/p", "vg-p", dm5, false}, {"mapper/vg-p", "vg-p", dm5, true}}},
		"what thin volumes stand on": {
			touch{"vg-p-tpool", volume + "-tpool", dm5, true}, &dmcore.Info{UUID: volume + "-tpool", Dev: dm5},
			[]link{{"mapper/vg-p-tpool", "vg-p-tpool", dm5, true}}},
		"a name that another device has got": {
			touch{"vg-a", volume, dm5, false}, &dmcore.Info{UUID: "other", Dev: dm6},
			[]link{{"vg/a", "vg-a", dm5, false}, {"mapper/vg-a", "vg-a", dm6, true}}},
		"no volume": {
			touch{"crypt", "CRYPT-x", dm5, false}, &dmcore.Info{UUID: "CRYPT-x", Dev: dm5},
			[]link{{"mapper/crypt", "crypt", dm5, true}}},
		"a name of pvmove": {
			touch{"vg-pvmove0", volume, dm5, false}, &dmcore.Info{UUID: volume, Dev: dm5},
			[]link{{"mapper/vg-pvmove0", "vg-pvmove0", dm5, true}}},
		"a name that leads elsewhere": {
			touch{"..-passwd", volume, dm5, false}, &dmcore.Info{UUID: volume, Dev: dm5},
			[]link{{"mapper/..-passwd", "..-passwd", dm5, true}}},
		"a group that is called mapper": {
			touch{"mapper-x", volume, dm5, false}, &dmcore.Info{UUID: volume, Dev: dm5},
			[]link{{"mapper/mapper-x", "mapper-x", dm5, true}}},
		"the control node's name": {touch{"control", "", dm5, false}, &dmcore.Info{Dev: dm5}, nil},
	} {
		if diff := cmp.Diff(c.want, plan(c.t, c.now), cmp.AllowUnexported(link{})); diff != "" {
			t.Errorf("%s (-want +got)\n%s", what, diff)
		}
	}
}

// rig is a device directory with the kernel's own nodes.
func rig(t *testing.T, devtmpfs ...dmcore.DevNo) nodes {
	t.Helper()
	n := nodes{t.TempDir()}
	for _, d := range devtmpfs {
		err := unix.Mknod(filepath.Join(n.dir, kernelName(d)), unix.S_IFBLK|0o600, int(unix.Mkdev(d.Major, d.Minor)))
		if errors.Is(err, unix.EPERM) {
			t.Skip("block devices' nodes cannot be made here")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func (n nodes) is(t *testing.T, path, want string) {
	t.Helper()
	got, err := os.Readlink(filepath.Join(n.dir, path))
	if err != nil {
		fi, err := os.Lstat(filepath.Join(n.dir, path))
		switch {
		case errors.Is(err, os.ErrNotExist):
			got = "nothing"
		case err != nil:
			t.Fatal(err)
		default:
			got = fi.Mode().String()
		}
	}
	if got != want {
		t.Errorf("%s is %s, want %s", path, got, want)
	}
}

func (n nodes) ok(t *testing.T, uuid dmcore.UUID, name string, d dmcore.DevNo, live bool) {
	t.Helper()
	var now *dmcore.Info
	if live {
		now = &dmcore.Info{UUID: uuid, Dev: d}
	}
	if err := n.put(plan(touch{name, uuid, d, false}, now)); err != nil {
		t.Fatal(err)
	}
}

func TestNodes(t *testing.T) {
	n := rig(t, dm5, dm6)
	for range 2 { // the second time there is nothing to do
		n.ok(t, volume, "vg-a", dm5, true)
		n.is(t, "mapper/vg-a", "../dm-5")
		n.is(t, "vg/a", "../dm-5")
	}
	n.ok(t, volume, "vg-a", dm6, true) // made anew with another number
	n.is(t, "vg/a", "../dm-6")
	n.ok(t, volume, "vg-b", dm5, true)
	n.ok(t, volume, "vg-a", dm5, false) // an old removal: the name is another's now
	n.is(t, "vg/a", "../dm-6")
	n.ok(t, volume, "vg-a", dm6, false)
	n.is(t, "mapper/vg-a", "nothing")
	n.is(t, "vg/a", "nothing")
	n.is(t, "vg/b", "../dm-5")
	n.ok(t, volume, "vg-b", dm5, false)
	n.is(t, "vg", "nothing") // with its last volume
	n.is(t, "mapper", "drwxr-xr-x")
	n.ok(t, volume, "vg-b", dm5, false)
}

// A thin pool has a link until something is made in it.
func TestNodesOfThinPool(t *testing.T) {
	n := rig(t, dm5, dm6)
	n.ok(t, volume+"-tpool", "vg-p", dm5, true)
	n.is(t, "vg/p", "../dm-5")
	if err := n.put(plan(touch{"vg-p", volume + "-pool", dm5, true}, &dmcore.Info{UUID: volume + "-pool", Dev: dm5})); err != nil {
		t.Fatal(err)
	}
	n.is(t, "mapper/vg-p", "../dm-5")
	n.is(t, "vg/p", "nothing")
	n.ok(t, volume+"-tpool", "vg-p", dm6, true)
	n.ok(t, volume+"-tpool", "vg-p", dm6, false)
	n.is(t, "vg", "nothing")
}

// Without devtmpfs there are nodes, as lvm2 makes them there.
func TestNodesWithoutDevtmpfs(t *testing.T) {
	n := rig(t, dm6)
	for range 2 {
		n.ok(t, volume, "vg-a", dm5, true)
		n.is(t, "mapper/vg-a", "Drw-------")
		n.is(t, "vg/a", "../mapper/vg-a")
	}
	n.ok(t, volume, "vg-a", dm5, false)
	n.is(t, "mapper/vg-a", "nothing")
	n.is(t, "vg", "nothing")
}

// What is no device is not replaced.
func TestNodesInTheWay(t *testing.T) {
	n := rig(t, dm5)
	if err := os.MkdirAll(filepath.Join(n.dir, "vg"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(n.dir, "vg/a"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	err := n.put(plan(touch{"vg-a", volume, dm5, false}, &dmcore.Info{UUID: volume, Dev: dm5}))
	if !errors.Is(err, dmcore.ErrExists) {
		t.Errorf("a file in the way: %v", err)
	}
	n.is(t, "mapper/vg-a", "../dm-5")
	n.is(t, "vg/a", "-rw-r--r--")
}
