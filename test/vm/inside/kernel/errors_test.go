package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/kernel"
	"cowhand/test/vm/inside"
)

func TestKernelErrors(t *testing.T) {
	b := newBench(t, kernel.Config{})
	ctx := t.Context()
	uuid := dmcore.UUID("KERR-a")
	dev := b.device("kerr-a", uuid, "0 64 zero")
	b.settle()

	load := func(target dmcore.Target, length dmcore.Sectors) error {
		return b.dm.Load(ctx, uuid, dmcore.Table{{Length: length, Target: target}}, false)
	}
	says := func(what string, err, want error, words ...string) {
		t.Helper()
		b.is(what, err, want)
		var e *dmcore.Error
		if !errors.As(err, &e) || string(e.Name) != string(uuid) {
			t.Errorf("%s: %#v is no error of the device", what, err)
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", what, err, w)
			}
		}
	}
	says("no such target", load(dmcore.Other{Kind: "nosuch"}, 8), dmcore.ErrNotSupported, `"nosuch"`, "dm-nosuch")
	says("arguments it does not take", load(dmcore.Other{Kind: "linear", Args: "one"}, 8), dmcore.ErrInvalid, "dmesg")
	says("longer than the device", load(dmcore.Linear{Dev: loop(t, 8)}, 16), dmcore.ErrInvalid)
	says("a device that is not there", load(dmcore.Linear{Dev: "8:160"}, 8), dmcore.ErrNotFound, "stands on")
	says("a path that is not there", load(dmcore.Linear{Dev: "/dev/nothing"}, 8), dmcore.ErrNotFound, "stands on")
	b.ok("a module that comes by itself", load(dmcore.SnapshotOrigin{Dev: loop(t, 8)}, 8))

	held, err := os.Open("/dev/mapper/kerr-a")
	b.ok("open", err)
	begun := time.Now()
	says("open", b.dm.Remove(ctx, uuid), dmcore.ErrBusy)
	t.Logf("a device that is in use is given up after %v", time.Since(begun))
	b.ok("close", held.Close())

	mounted := loop(t, 2*1024*10)
	b.ok("load", b.dm.Load(ctx, uuid, dmcore.Table{{Length: 2 * 1024 * 10, Target: dmcore.Linear{Dev: mounted}}}, false))
	_, err = b.dm.Resume(ctx, uuid)
	b.ok("resume", err)
	b.settle()
	inside.Run(t, "mkfs.ext4", "-q", "/dev/mapper/kerr-a")
	b.is("a device that somebody has for himself", second(b.dm.Create(ctx, "kerr-b", "KERR-b")), nil)
	t.Cleanup(func() { b.dm.Remove(context.Background(), "KERR-b") })
	dir := t.TempDir()
	inside.Run(t, "mount", "/dev/mapper/kerr-a", dir)
	err = b.dm.Load(ctx, "KERR-b", dmcore.Table{{Length: 8, Target: dmcore.Linear{Dev: dev.Dev.Dev()}}}, false)
	b.is("a mounted device below a table", err, dmcore.ErrBusy)
	inside.Run(t, "umount", dir)
	b.ok("remove", b.dm.Remove(ctx, "KERR-b"))
}

func second[T any](_ T, err error) error { return err }

// unprivileged is the variable that makes this program only look, as nobody,
// whether there is a device mapper.
const unprivileged = "KERNEL_TEST_UNPRIVILEGED"

func lookUnprivileged() {
	_, err := dmcore.NewClient(kernel.New(kernel.Config{})).List(context.Background())
	if !errors.Is(err, dmcore.ErrUnavailable) || !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "root") {
		fmt.Println(err)
		os.Exit(1)
	}
}

// Whoever is not root hears so; where there is no device mapper, what to do.
func TestKernelUnavailable(t *testing.T) {
	asNobody := func(what string) {
		t.Helper()
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), unprivileged+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
	asNobody("a node for root alone")
	if err := os.Chmod("/dev/mapper/control", 0o666); err != nil {
		t.Fatal(err)
	}
	asNobody("a node for all, and still no CAP_SYS_ADMIN")
	if err := os.Chmod("/dev/mapper/control", 0o600); err != nil {
		t.Fatal(err)
	}

	if err := os.Rename("/dev/mapper/control", "/dev/control.away"); err != nil {
		t.Fatal(err)
	}
	_, err := dmcore.NewClient(kernel.New(kernel.Config{})).List(t.Context())
	if e := os.Rename("/dev/control.away", "/dev/mapper/control"); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, dmcore.ErrUnavailable) || !strings.Contains(err.Error(), "modprobe dm_mod") {
		t.Errorf("without the control node: %v", err)
	}
}

// Answers of many sizes: long tables, many devices.
func TestKernelScale(t *testing.T) {
	b := newBench(t, kernel.Config{Udev: kernel.Off})
	var table dmcore.Table
	for i := range dmcore.Sectors(20000) {
		table = append(table, dmcore.Segment{Start: i, Length: 1, Target: dmcore.Zero{}})
	}
	b.device("kscale-long", "KSCALE-long", "0 8 zero")
	b.ok("load", b.dm.Load(t.Context(), "KSCALE-long", table, false))
	got, err := b.dm.InactiveTable(t.Context(), "KSCALE-long")
	b.ok("table", err)
	if !got.Equal(table) {
		t.Errorf("a table of %d segments comes back with %d", len(table), len(got))
	}
	const n = 300
	for i := range n {
		if _, err := b.dm.Create(t.Context(), dmcore.Name(fmt.Sprintf("kscale-%0100d", i)), dmcore.UUID(fmt.Sprintf("KSCALE-%0100d", i))); err != nil {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	infos, err := b.dm.List(t.Context())
	b.ok("list", err)
	t.Logf("%d devices listed in %v", len(infos), time.Since(begun))
	found := 0
	for _, i := range infos {
		if strings.HasPrefix(string(i.UUID), "KSCALE-0") {
			found++
			b.ok("remove", b.dm.Remove(t.Context(), i.UUID))
		}
	}
	if found != n {
		t.Errorf("%d devices are listed, want %d", found, n)
	}
}

// The kernel reads ahead two stripes, as lvm2 would set it.
func TestKernelReadAhead(t *testing.T) {
	b := newBench(t, kernel.Config{})
	x, y := loop(t, 8192), loop(t, 8192)
	dev := b.device("kra-a", "KRA-a", fmt.Sprintf("0 8192 striped 2 1024 %s 0 %s 0", x, y))
	got, err := os.ReadFile(filepath.Join("/sys/dev/block", dev.Dev.String(), "queue/read_ahead_kb"))
	b.ok("read-ahead", err)
	if strings.TrimSpace(string(got)) != "2048" {
		t.Errorf("reads %s KiB ahead, want two stripes of 2 x 512 KiB", strings.TrimSpace(string(got)))
	}
}
