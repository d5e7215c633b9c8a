package blockdev

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOpenFile(t *testing.T) {
	if _, err := OpenFile(t.TempDir(), true); err == nil {
		t.Error("a directory was opened")
	}
	if _, err := OpenFile("/dev/null", false); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a character device: %v", err)
	}
	if _, err := OpenFile(t.TempDir()+"/none", false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	f := openImage(t, imageFile(t, 4096), true)
	if _, err := f.WriteAt(make([]byte, 512), 0); err == nil {
		t.Error("a read-only file was written")
	}
	if err := f.Zero(0, 512, true); err == nil {
		t.Error("a read-only file was zeroed")
	}
}

// A file that grows while it is open is seen to have grown.
func TestFileGrows(t *testing.T) {
	path := imageFile(t, 4096)
	f := openImage(t, path, false)
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt(make([]byte, 4096), 4096); n != 4096 || err != nil {
		t.Errorf("write into the new part: %d, %v", n, err)
	}
	if got := f.Size(); got != 8192 {
		t.Errorf("size %d, want 8192", got)
	}
}

func TestFileExtents(t *testing.T) {
	const mib = 1 << 20
	f := openImage(t, imageFile(t, 4*mib), false)
	if _, err := f.WriteAt(bytes.Repeat([]byte{1}, mib), mib); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	got, err := f.Extents(0, 4*mib)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 1 && !got[0].Hole {
		t.Skip("this file system does not tell holes from data")
	}
	want := []Extent{{mib, true, true}, {mib, false, false}, {2 * mib, true, true}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := f.Discard(mib, mib); err != nil {
		t.Skipf("discard: %v", err)
	}
	got, err = f.Extents(mib/2, 3*mib)
	if diff := cmp.Diff([]Extent{{3 * mib, true, true}}, got); diff != "" || err != nil {
		t.Errorf("after a discard: %v (-want +got)\n%s", err, diff)
	}
}

// Zero keeps what is around it, and the size; without mayUnmap the space stays.
func TestFileZero(t *testing.T) {
	for _, mayUnmap := range []bool{true, false} {
		f := openImage(t, imageFile(t, 65536), false)
		want := bytes.Repeat([]byte{9}, 65536)
		if _, err := f.WriteAt(want, 0); err != nil {
			t.Fatal(err)
		}
		err := f.Zero(5000, 60536, mayUnmap)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Logf("mayUnmap %t: %v", mayUnmap, err)
			continue
		}
		clear(want[5000:])
		got := make([]byte, 65536)
		if _, rerr := f.ReadAt(got, 0); err != nil || rerr != nil || !bytes.Equal(got, want) {
			t.Errorf("mayUnmap %t: %v, %v; equal %t", mayUnmap, err, rerr, bytes.Equal(got, want))
		}
	}
}

// After a failed sync no later one succeeds, of the whole or of a part.
func TestSyncFailureStays(t *testing.T) {
	for name, fail := range map[string]func(*File) error{
		"sync":       (*File).Sync,
		"sync range": func(f *File) error { return f.SyncRange(0, 512) },
	} {
		t.Run(name, func(t *testing.T) {
			f, err := OpenFile(imageFile(t, 512), false)
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
			first := fail(f)
			if second := f.Sync(); first == nil || second != first {
				t.Errorf("syncs gave %v, then %v", first, second)
			}
			if third := f.SyncRange(0, 512); third != first {
				t.Errorf("then the sync of a range gave %v", third)
			}
		})
	}
}

func TestBlockDevice(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	path := imageFile(t, 1<<20)
	out, err := exec.Command("losetup", "--find", "--show", path).CombinedOutput()
	if err != nil {
		t.Skipf("losetup: %v: %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", loop).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
	})
	f, err := OpenFile(loop, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := f.Size(); got != 1<<20 {
		t.Errorf("size %d", got)
	}
	want := bytes.Repeat([]byte{5}, 1<<20)
	if _, err := f.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if below, err := os.ReadFile(path); err != nil || !bytes.Equal(below, want) {
		t.Errorf("what was synced is not in the image: %v", err)
	}
	for name, op := range map[string]func() error{
		"zero, unmapping": func() error { clear(want[:8192]); return f.Zero(0, 8192, true) },
		"zero":            func() error { clear(want[16384:24576]); return f.Zero(16384, 8192, false) },
		"discard":         func() error { clear(want[65536:131072]); return f.Discard(65536, 65536) }, // loop punches the image
	} {
		if err := op(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	got := make([]byte, 1<<20)
	if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("contents differ: %v", err)
	}
	if got, err := f.Extents(512, 4096); err != nil || len(got) != 1 || got[0] != (Extent{Length: 4096}) {
		t.Errorf("extents %v, %v", got, err)
	}
	if err := os.Truncate(path, 2<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("losetup", "--set-capacity", loop).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	if _, err := f.WriteAt(make([]byte, 512), 1<<20); err != nil {
		t.Errorf("write into the part that was added: %v", err)
	}
}

// A disk of blocks of 4 KiB cannot zero or discard less. That is no error of
// what asked: it is done another way, or left.
func TestBlocksLargerThanSectors(t *testing.T) {
	losetup, err := exec.LookPath("losetup")
	if err != nil {
		t.Skip("losetup is not installed")
	}
	path := t.TempDir() + "/f"
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(losetup, "--find", "--show", "--sector-size", "4096", path).Output()
	if err != nil {
		t.Skip("no loop device with blocks of 4 KiB: ", err)
	}
	loop := strings.TrimSpace(string(out))
	defer exec.Command(losetup, "--detach", loop).Run()
	d, err := OpenFile(loop, false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for name, err := range map[string]error{
		"discard":        d.Discard(512, 512),
		"zero":           d.Zero(512, 512, false),
		"zero and unmap": d.Zero(512, 512, true),
	} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v, want ErrUnsupported", name, err)
		}
	}
}
