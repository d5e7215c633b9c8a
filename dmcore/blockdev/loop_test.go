package blockdev

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// loopImage is an image for a loop device, which goes with the test.
func loopImage(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("loop devices need root")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip(err)
	}
	path := imageFile(t, 4<<20)
	t.Cleanup(func() { detachAll(t, path) })
	return path
}

// detachAll takes all loop devices of an image away.
func detachAll(t *testing.T, image string) {
	for _, path := range loopsOf(t, image) {
		dev, err := os.Open(path)
		if err == nil {
			err = errors.Join(unix.IoctlSetInt(int(dev.Fd()), unix.LOOP_CLR_FD, 0), dev.Close())
		}
		if err != nil {
			t.Error(err)
		}
	}
}

func loopsOf(t *testing.T, image string) (found []string) {
	t.Helper()
	attached, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range attached {
		if text, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(text)) == image {
			found = append(found, "/dev/"+strings.Split(path, "/")[3])
		}
	}
	return found
}

func attach(t *testing.T, image string) Loop {
	t.Helper()
	l, err := AttachLoop(image, false)
	if errors.Is(err, unix.EPERM) || errors.Is(err, os.ErrNotExist) {
		t.Skip(err) // as in a container
	}
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func status(t *testing.T, l Loop, change func(*unix.LoopInfo64)) *unix.LoopInfo64 {
	t.Helper()
	dev, err := os.OpenFile(l.Path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	info, err := unix.IoctlLoopGetStatus64(int(dev.Fd()))
	if err == nil && change != nil {
		change(info)
		err = unix.IoctlLoopSetStatus64(int(dev.Fd()), info)
	}
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestAttachLoop(t *testing.T) {
	image := loopImage(t)
	l := attach(t, image)
	var st unix.Stat_t
	if err := unix.Stat(l.Path, &st); err != nil || l.Path != fmt.Sprintf("/dev/loop%d", l.Minor) || unix.Mkdev(l.Major, l.Minor) != uint64(st.Rdev) {
		t.Errorf("%+v: %v", l, err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(image, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{image, link} {
		if again, err := AttachLoop(path, false); err != nil || again != l {
			t.Errorf("%s: %+v, %v; was at %+v", path, again, err, l)
		}
	}

	dev := openImage(t, l.Path, false)
	if dev.Size() != 4<<20 {
		t.Errorf("the device has %d bytes", dev.Size())
	}
	want := bytes.Repeat([]byte("cow "), 1024)
	if _, err := dev.WriteAt(want, 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := dev.Sync(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := openImage(t, image, true).ReadAt(got, 1<<20); err != nil || !bytes.Equal(got, want) {
		t.Errorf("what was written is not in the file: %v", err)
	}
	dev.Close()

	if err := os.Truncate(image, 8<<20); err != nil {
		t.Fatal(err)
	}
	hold, err := os.Open(l.Path) // else the device went with who closes it next
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	status(t, l, func(i *unix.LoopInfo64) { i.Flags |= unix.LO_FLAGS_AUTOCLEAR })
	again, err := AttachLoop(image, false)
	if err != nil {
		t.Fatal(err)
	}
	if flags := status(t, again, nil).Flags; flags&unix.LO_FLAGS_AUTOCLEAR != 0 {
		t.Errorf("the device goes when it is closed: flags %#x", flags)
	}
	if size := openImage(t, again.Path, true).Size(); size != 8<<20 {
		t.Errorf("the file has grown, the device has %d bytes", size)
	}
}

// One file is never on two devices.
func TestAttachLoopAtOnce(t *testing.T) {
	image := loopImage(t)
	want := attach(t, image)
	detachAll(t, image)
	found := make([]Loop, 8)
	var wg sync.WaitGroup
	for i := range found {
		wg.Go(func() {
			var err error
			if found[i], err = AttachLoop(image, false); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, l := range found {
		if l != found[0] {
			t.Errorf("%+v and %+v", l, found[0])
		}
	}
	if paths := loopsOf(t, image); len(paths) != 1 {
		t.Errorf("%s is on %q (was on %s)", image, paths, want.Path)
	}
}

func TestAttachLoopRefused(t *testing.T) {
	image := loopImage(t)
	if _, err := AttachLoop(filepath.Dir(image), true); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := AttachLoop(image+".gone", false); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	ro, err := AttachLoop(image, true)
	if err != nil {
		t.Skip(err)
	}
	if again, err := AttachLoop(image, true); err != nil || again != ro {
		t.Errorf("%+v, %v; was at %+v", again, err, ro)
	}
	if _, err := AttachLoop(image, false); !errors.Is(err, ErrLoopInUse) {
		t.Errorf("to write, while it is read-only: %v", err)
	}
	detachAll(t, image)
	l := attach(t, image)
	status(t, l, func(i *unix.LoopInfo64) { i.Offset = 1 << 20 })
	if _, err := AttachLoop(image, false); !errors.Is(err, ErrLoopInUse) {
		t.Errorf("a part of it: %v", err)
	}
}

// Kernels before 5.8 attach in three steps.
func TestSetLoop(t *testing.T) {
	image := loopImage(t)
	l := attach(t, image)
	detachAll(t, image)
	dev, _, err := openLoop(int(l.Minor), os.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	file, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	err = setLoop(int(dev.Fd()), file, new(unix.LoopInfo64))
	if errors.Is(err, unix.EBUSY) {
		t.Skip("somebody else has taken the device")
	}
	if err != nil {
		t.Fatal(err)
	}
	if again, err := AttachLoop(image, false); err != nil || again != l {
		t.Errorf("%+v, %v; was at %+v", again, err, l)
	}
}
