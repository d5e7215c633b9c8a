package engine

import (
	"bytes"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"

	"cowhand/dmcore"
)

// A snapshot, its origin and a merge outlive an engine that is killed while a
// client writes: the snapshot shows what it showed, the origin what was flushed
// or later, and a merge goes on.
func TestKillWithSnapshot(t *testing.T) {
	dir := filepath.Join(shortDir(t), "run")
	stopEngine(t, dir)
	ensure := func() *Client { return ensured(t, dir) }
	kill := func(c *Client) *Client {
		t.Helper()
		info, err := c.Engine(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(info.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return ensure()
	}
	const size, cowSize = dmcore.Sectors(2048), dmcore.Sectors(4096)
	pv := disk(t, (size + cowSize).Bytes())
	conn := ensure()
	c := dmcore.NewClient(conn)

	// The origin as it was, all 0xaa.
	before := bytes.Repeat([]byte{0xaa}, int(size.Bytes()))
	root := create(t, conn, "root", linear(pv, 0, size))
	nc := dialNBD(t, dir, "vg/root")
	for off := 0; off < len(before); off += 64 << 10 {
		if err := nc.write(before[off:off+64<<10], int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.flush(); err != nil {
		t.Fatal(err)
	}

	// The snapshot, as lvm stacks it.
	under := func(name dmcore.Name, suffix dmcore.UUID, table dmcore.Table) dmcore.Dev {
		t.Helper()
		id := uuid("root") + suffix
		info, err := c.Create(t.Context(), name, id)
		if err == nil {
			err = c.Load(t.Context(), id, table, false)
		}
		if err == nil {
			_, err = c.Resume(t.Context(), id)
		}
		if err != nil {
			t.Fatal(err)
		}
		return info.Dev.Dev()
	}
	lower := under("vg-root-real", "-real", linear(pv, 0, size))
	cow := under("vg-snap-cow", "-cow", linear(pv, size, cowSize))
	one := func(target dmcore.Target) dmcore.Table { return dmcore.Table{{Length: size, Target: target}} }
	if err := c.Load(t.Context(), root.UUID, one(dmcore.SnapshotOrigin{Dev: lower}), false); err != nil {
		t.Fatal(err)
	}
	if err := c.Suspend(t.Context(), root.UUID, dmcore.SuspendOptions{}); err != nil {
		t.Fatal(err)
	}
	create(t, conn, "snap", one(dmcore.Snapshot{Origin: lower, COW: cow, Chunk: 8}))
	if _, err := c.Resume(t.Context(), root.UUID); err != nil {
		t.Fatal(err)
	}

	w := &writer{}
	for round := range 2 {
		w.nc = nc
		flushed := make(chan struct{})
		ended := make(chan struct{})
		go func() { w.write(flushed); close(ended) }()
		for range 20 {
			<-flushed
		}
		go func() {
			for {
				select {
				case <-flushed:
				case <-ended:
					return
				}
			}
		}()
		conn = kill(conn)
		<-ended
		if err := reads(dialNBD(t, dir, "vg/snap"), before); err != nil {
			t.Fatalf("round %d: snapshot: %v", round, err)
		}
		w.nc = dialNBD(t, dir, "vg/root")
		if err := w.checkOver(0xaaaaaaaaaaaaaaaa); err != nil {
			t.Fatalf("round %d: origin: %v", round, err)
		}
		nc = w.nc
	}

	// The merge, from whose first moment the origin shows what the snapshot did.
	if err := nc.hangUp(); err != nil {
		t.Fatal(err)
	}
	conn = kill(conn)
	c = dmcore.NewClient(conn)
	lowerInfo, err := c.Info(t.Context(), "vg-root-real")
	if err != nil {
		t.Fatal(err)
	}
	cowInfo, err := c.Info(t.Context(), "vg-snap-cow")
	if err != nil {
		t.Fatal(err)
	}
	merge := dmcore.SnapshotMerge{Origin: lowerInfo.Dev.Dev(), COW: cowInfo.Dev.Dev(), Chunk: 8}
	for _, step := range []func() error{
		func() error { return c.Load(t.Context(), root.UUID, one(merge), false) },
		func() error { return c.Suspend(t.Context(), uuid("snap"), dmcore.SuspendOptions{}) },
		func() error { return c.Suspend(t.Context(), root.UUID, dmcore.SuspendOptions{}) },
		func() error { _, err := c.Resume(t.Context(), root.UUID); return err },
		func() error { return c.Remove(t.Context(), uuid("snap")) }, // the window closes
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	kill(conn)
	if err := reads(dialNBD(t, dir, "vg/root"), before); err != nil {
		t.Errorf("origin while it is merged: %v", err)
	}
}

// reads checks what an export holds.
func reads(nc *nbdClient, want []byte) error {
	if nc.size != uint64(len(want)) {
		return fmt.Errorf("%d bytes, want %d", nc.size, len(want))
	}
	got := make([]byte, 64<<10)
	for off := 0; off < len(want); off += len(got) {
		if err := nc.read(got, int64(off)); err != nil {
			return err
		}
		if i := firstDifference(got, want[off:off+len(got)]); i >= 0 {
			return fmt.Errorf("byte %d is %#x, want %#x", off+i, got[i], want[off+i])
		}
	}
	return nc.hangUp()
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
