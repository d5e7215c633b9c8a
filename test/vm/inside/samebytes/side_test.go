package samebytes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/kernel"
	"cowhand/dmcore/userspace"
	"cowhand/test/vm/inside"
)

func TestMain(m *testing.M) { inside.Main(m) }

// side is one of the two machines, on the same two image files.
type side struct {
	testing.TB
	name        string
	dm          *dmcore.Client
	open        func(name dmcore.Name, readOnly bool) (blockdev.Device, error)
	origin, cow dmcore.Dev
}

// userspaceSide is a machine in this process.
func userspaceSide(t testing.TB, origin, cow string) *side {
	m := userspace.New(func(dev dmcore.Dev) (blockdev.Device, error) { return blockdev.OpenFile(string(dev), false) })
	t.Cleanup(func() { m.Close() })
	return &side{t, "userspace", dmcore.NewClient(m),
		func(name dmcore.Name, readOnly bool) (blockdev.Device, error) { return m.Open(name, readOnly) },
		dmcore.Dev(origin), dmcore.Dev(cow)}
}

// kernelSide is the kernel, which sees the files through loop devices.
func kernelSide(t testing.TB, origin, cow string) *side {
	ctl := kernel.New(kernel.Config{})
	t.Cleanup(func() { ctl.Close() })
	s := &side{TB: t, name: "kernel", dm: dmcore.NewClient(ctl)}
	s.open = func(name dmcore.Name, readOnly bool) (blockdev.Device, error) {
		if err := s.dm.Settle(context.Background()); err != nil {
			return nil, err
		}
		return blockdev.OpenFile(filepath.Join("/dev/mapper", string(name)), readOnly)
	}
	for _, f := range []struct {
		path string
		dev  *dmcore.Dev
	}{{origin, &s.origin}, {cow, &s.cow}} {
		l, err := blockdev.AttachLoop(f.path, false)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { inside.Run(t, "losetup", "-d", l.Path) })
		*f.dev = dmcore.DevNo{Major: l.Major, Minor: l.Minor}.Dev()
	}
	return s
}

func (s *side) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatalf("%s: %v", s.name, err)
	}
}

// device makes a device with a live table; what is %s in it is a reference.
func (s *side) device(name, format string, args ...any) dmcore.Dev {
	s.Helper()
	ctx := context.Background()
	info, err := s.dm.Create(ctx, dmcore.Name(name), dmcore.UUID("SAMEBYTES-"+name))
	s.ok(err)
	t, err := dmcore.ParseTable(fmt.Sprintf(format, args...))
	s.ok(err)
	s.ok(s.dm.Load(ctx, info.UUID, t, false))
	_, err = s.dm.Resume(ctx, info.UUID)
	s.ok(err)
	return info.Dev.Dev()
}

// remove takes down devices, the upper ones first.
func (s *side) remove(names ...string) {
	s.Helper()
	ctx := context.Background()
	s.ok(s.dm.Settle(ctx))
	for _, n := range names {
		s.ok(s.dm.Remove(ctx, dmcore.UUID("SAMEBYTES-"+n)))
	}
	s.ok(s.dm.Settle(ctx))
}

func (s *side) read(name string, n int64) []byte {
	s.Helper()
	d, err := s.open(dmcore.Name(name), true)
	s.ok(err)
	p := make([]byte, n)
	_, err = d.ReadAt(p, 0)
	s.ok(errors.Join(err, d.Close()))
	return p
}

func (s *side) writer(name string) blockdev.Device {
	s.Helper()
	d, err := s.open(dmcore.Name(name), false)
	s.ok(err)
	return d
}

func (s *side) status(name string) dmcore.SnapshotStatus {
	s.Helper()
	st, err := s.dm.SnapshotStatus(context.Background(), dmcore.UUID("SAMEBYTES-"+name))
	s.ok(err)
	return st
}

// merged waits until a merge is complete.
func (s *side) merged(name string) {
	s.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		info, ok, err := s.dm.Find(ctx, dmcore.UUID("SAMEBYTES-"+name))
		if err != nil || !ok {
			s.Fatalf("%s: %s: %v, %v", s.name, name, ok, err)
		}
		if s.status(name).Merged() {
			return
		}
		if ctx.Err() != nil {
			s.Fatalf("%s: %s: status %v after a minute", s.name, name, s.status(name))
		}
		soon, cancel := context.WithTimeout(ctx, 100*time.Millisecond) // the kernel raises no event
		s.dm.Wait(soon, info.UUID, info.EventNr)
		cancel()
	}
}

// image makes a file, in memory, with these bytes.
func image(t testing.TB, p []byte) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "*.img")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Fsync(int(f.Fd())), f.Close()); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
