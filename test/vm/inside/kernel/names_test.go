package kernel

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/kernel"
	"cowhand/test/vm/inside"
)

// bench is a control whose devices go with the test.
type bench struct {
	*testing.T
	ctl *kernel.Control
	dm  *dmcore.Client
}

func newBench(t *testing.T, cfg kernel.Config) *bench {
	c := newControl(t, cfg)
	return &bench{t, c, dmcore.NewClient(c)}
}

func (b *bench) ok(what string, err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%s: %v", what, err)
	}
}

func (b *bench) is(what string, err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Fatalf("%s: error %v, want %v", what, err, want)
	}
}

// device makes one, without waiting for its names.
func (b *bench) device(name dmcore.Name, uuid dmcore.UUID, table string) dmcore.Info {
	b.Helper()
	t, err := dmcore.ParseTable(table)
	b.ok("table", err)
	_, err = b.dm.Create(b.Context(), name, uuid)
	b.ok("create", err)
	b.Cleanup(func() {
		if err := b.dm.Remove(context.Background(), uuid); err != nil && !errors.Is(err, dmcore.ErrNotFound) {
			b.Error(err)
		}
	})
	b.ok("load", b.dm.Load(b.Context(), uuid, t, false))
	info, err := b.dm.Resume(b.Context(), uuid)
	b.ok("resume", err)
	return info
}

func (b *bench) settle() {
	b.Helper()
	b.ok("settle", b.dm.Settle(b.Context()))
}

// there and gone are about names below /dev.
func (b *bench) there(dev dmcore.DevNo, names ...string) {
	b.Helper()
	for _, name := range names {
		to, err := os.Readlink(filepath.Join("/dev", name))
		if err != nil || filepath.Base(to) != "dm-"+dev.String()[4:] {
			b.Errorf("/dev/%s leads to %q, %v, want %s", name, to, err, dev)
		}
	}
}

func (b *bench) gone(names ...string) {
	b.Helper()
	for _, name := range names {
		if to, err := os.Readlink(filepath.Join("/dev", name)); !errors.Is(err, os.ErrNotExist) {
			b.Errorf("/dev/%s is there: %q, %v", name, to, err)
		}
	}
}

// noCookies fails the test if a semaphore is left.
func noCookies(t *testing.T) {
	t.Helper()
	if out := inside.Run(t, "dmsetup", "udevcookies"); strings.Contains(out, "0x") || strings.Contains(out, "d4d") {
		t.Errorf("semaphores are left: %s", out)
	}
}

func volume(n string, layer string) dmcore.UUID {
	return dmcore.BuildUUID("knames"+strings.Repeat("x", 26), n+strings.Repeat("y", 32-len(n)), layer)
}

// names: the names of a volume, of one of its layers and of no volume, as they
// are made, moved and removed.
func names(t *testing.T, cfg kernel.Config) {
	b := newBench(t, cfg)
	a, layer, other := volume("a", ""), volume("a", "real"), dmcore.UUID("KNAMES-other")
	dev := b.device("kn-a--b", a, "0 64 zero")
	low := b.device("kn-a--b-real", layer, "0 64 zero")
	odd := b.device("an odd one", other, "0 64 zero")
	b.settle()
	b.there(dev.Dev, "mapper/kn-a--b", "kn/a-b")
	b.there(low.Dev, "mapper/kn-a--b-real")
	b.there(odd.Dev, `mapper/an\x20odd\x20one`)
	b.gone("kn/a-b-real")
	if got, err := b.dm.Info(t.Context(), "an odd one"); err != nil || got.Name != "an odd one" || got.UUID != other {
		t.Errorf("info of an odd name: %+v, %v", got, err)
	}

	b.ok("rename", b.dm.Rename(t.Context(), a, "kn-c"))
	b.settle()
	b.there(dev.Dev, "mapper/kn-c", "kn/c")
	b.gone("mapper/kn-a--b", "kn/a-b")

	// What a merging snapshot leaves is hidden.
	b.ok("load", b.dm.Load(t.Context(), a, dmcore.Table{{Length: 64, Target: dmcore.Failing{}}}, false))
	_, err := b.dm.Resume(t.Context(), a)
	b.ok("resume", err)
	b.settle()
	b.there(dev.Dev, "mapper/kn-c")
	b.gone("kn/c")

	// A device of the same name, made anew in one batch.
	b.ok("remove", b.dm.Remove(t.Context(), a))
	again := b.device("kn-c", volume("c", ""), "0 64 zero")
	b.settle()
	b.there(again.Dev, "mapper/kn-c", "kn/c")
	for _, u := range []dmcore.UUID{volume("c", ""), layer, other} {
		b.ok("remove", b.dm.Remove(t.Context(), u))
	}
	b.settle()
	b.gone("mapper/kn-c", "kn/c", "mapper/kn-a--b-real", `mapper/an\x20odd\x20one`)
	if _, err := os.Stat("/dev/kn"); err == nil {
		t.Error("/dev/kn is left")
	}
	noCookies(t)
}

func TestKernelNames(t *testing.T)       { names(t, kernel.Config{}) }
func TestNoUdevKernelNames(t *testing.T) { names(t, kernel.Config{}) }

// With udev there, but told to keep out.
func TestKernelNamesOfOurOwn(t *testing.T) { names(t, kernel.Config{Udev: kernel.Off}) }

// udev's own view: what is hidden gets no further names.
func TestKernelUdevFlags(t *testing.T) {
	b := newBench(t, kernel.Config{})
	b.device("kf-a", volume("a", ""), "0 64 zero")
	b.device("kf-a-real", volume("a", "real"), "0 64 zero")
	b.settle()
	entries, err := filepath.Glob("/dev/disk/by-id/dm-uuid-LVM-knames*")
	b.ok("by-id", err)
	if want := []string{"/dev/disk/by-id/dm-uuid-" + string(volume("a", ""))}; !slices.Equal(entries, want) {
		t.Errorf("names by UUID: %q, want %q", entries, want)
	}
	for name, want := range map[string][]string{
		"kf-a":      {"DM_UDEV_PRIMARY_SOURCE_FLAG=1", "DM_ACTIVATION=1"},
		"kf-a-real": {"DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG=1", "DM_UDEV_DISABLE_DISK_RULES_FLAG=1", "DM_UDEV_DISABLE_OTHER_RULES_FLAG=1"},
	} {
		out := inside.Run(t, "udevadm", "info", "/dev/mapper/"+name)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s lacks %s", name, w)
			}
		}
	}
}

// A udev that does not answer: ctx ends the waiting, patience does; the names are
// there in the end, and it is not waited for twice.
func TestKernelDeafUdev(t *testing.T) {
	inside.Run(t, "udevadm", "settle")
	inside.Run(t, "udevadm", "control", "--stop-exec-queue")
	awake := func() {
		inside.Run(t, "udevadm", "control", "--start-exec-queue")
		inside.Run(t, "udevadm", "settle")
	}
	t.Cleanup(awake)
	b := newBench(t, kernel.Config{Patience: time.Second})
	dev := b.device("kd-a", volume("a", ""), "0 64 zero")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	b.is("settle", b.dm.Settle(ctx), context.DeadlineExceeded)
	noCookies(t)
	b.settle() // nothing to wait for any more
	b.there(dev.Dev, "mapper/kd-a", "kd/a")

	second := b.device("kd-b", volume("b", ""), "0 64 zero")
	b.settle() // patience
	b.there(second.Dev, "mapper/kd-b", "kd/b")
	third := b.device("kd-c", volume("c", ""), "0 64 zero")
	noCookies(t) // it is deaf: no more semaphores
	b.settle()
	b.there(third.Dev, "mapper/kd-c", "kd/c")
	awake()
	b.there(dev.Dev, "mapper/kd-a", "kd/a")
}

// Who ends without settling leaves no semaphore.
func TestKernelCloseWithoutSettle(t *testing.T) {
	inside.Run(t, "udevadm", "settle")
	later := newControl(t, kernel.Config{})
	c := kernel.New(kernel.Config{})
	b := &bench{t, c, dmcore.NewClient(c)}
	b.device("kc-a", volume("a", ""), "0 64 zero")
	if out := inside.Run(t, "dmsetup", "udevcookies"); !strings.Contains(out, "0x") {
		t.Errorf("dmsetup sees no cookie: %s", out)
	}
	b.ok("close", c.Close())
	noCookies(t)
	b.ctl, b.dm = later, dmcore.NewClient(later)
}
