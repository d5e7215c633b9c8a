package userspace

import (
	"fmt"
	"slices"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

// copied is a disk of which this host keeps a copy.
type copied struct {
	*blockdev.Mem
	calls []string
}

func (c *copied) Refresh(off, n int64) error { return c.note("refresh", off, n) }
func (c *copied) Evict(off, n int64) error   { return c.note("evict", off, n) }

func (c *copied) note(what string, off, n int64) error {
	c.calls = append(c.calls, fmt.Sprintf("%s %d+%d", what, off/dmcore.SectorSize, n/dmcore.SectorSize))
	return nil
}

// A volume that is mapped anew shows what the disk has, and one that is mapped no
// more leaves nothing behind that would be written later. While it goes from one
// device to another, as when it gets a snapshot, its copy stays.
func TestAreasChangeHands(t *testing.T) {
	disk := &copied{Mem: blockdev.NewMem(1 << 20)}
	m := New(func(dmcore.Dev) (blockdev.Device, error) { return disk, nil })
	dm := dmcore.NewClient(m)
	ctx := t.Context()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	load := func(u dmcore.UUID, target dmcore.Target) {
		t.Helper()
		do(dm.Load(ctx, u, dmcore.Table{{Length: 64, Target: target}}, false))
	}
	resume := func(u dmcore.UUID) {
		t.Helper()
		_, err := dm.Resume(ctx, u)
		do(err)
	}
	create := func(u dmcore.UUID) dmcore.Dev {
		t.Helper()
		info, err := dm.Create(ctx, dmcore.Name(u), u)
		do(err)
		return info.Dev.Dev()
	}
	does := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(disk.calls, want) {
			t.Errorf("%s: %q, want %q", what, disk.calls, want)
		}
		disk.calls = nil
	}
	linear := func(at dmcore.Sectors) dmcore.Linear { return dmcore.Linear{Dev: "/dev/disk", Start: at} }
	create("other")
	load("other", linear(512))
	resume("other")
	does("another volume", "refresh 512+64")
	create("root")
	load("root", linear(128))
	resume("root")
	does("a volume", "refresh 128+64")
	real := create("root-real")
	load("root-real", linear(128))
	resume("root-real")
	load("root", dmcore.SnapshotOrigin{Dev: real})
	resume("root")
	does("it becomes an origin")
	load("root", linear(128))
	resume("root")
	do(dm.Remove(ctx, "root-real"))
	does("it is none any more")
	do(dm.Remove(ctx, "root"))
	does("it goes", "evict 128+64")
	do(m.Close())
	does("all go", "evict 512+64")
}
