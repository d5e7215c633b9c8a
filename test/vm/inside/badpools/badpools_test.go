package badpools

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"cowhand/dmcore"
	"cowhand/dmcore/thinmeta"
	"cowhand/test/vm/inside"
)

const (
	snapshot = "lvcreate -y -s -n s9 vg0/t1"
	create   = "lvcreate -y -V 4M -T -n t9 vg0/pool"
	remove   = "lvremove -y vg0/s1"
	merge    = "lvconvert --merge vg0/s1"
)

// A pool whose metadata needs a check can be read, and what is to be done about it is said.
func TestBadPoolNeedsCheck(t *testing.T) {
	l := newLab(t, "-L 16M")
	l.do("vgchange -an vg0")
	l.change(func(p *thinmeta.Pool) error { return p.SetNeedsCheck(true) })
	before := l.dump()
	out, err := l.try("vgchange -ay vg0")
	if err != nil || !strings.Contains(out, "needs a check") || strings.Count(out, "lvchange -ay vg0/pool") != 1 {
		t.Errorf("activation: %v: %s", err, out)
	}
	inside.Run(t, "cmp", "/dev/vg0/t1", "/dev/vg0/s1")
	l.sameReports()
	l.refuses("needs a check", snapshot, create, remove, merge)
	l.do("vgchange -an vg0")
	if after := l.dump(); after != before {
		t.Errorf("the pool's metadata was\n%s\nand is\n%s", before, after)
	}
	_, advice, _ := strings.Cut(out, "have lvm2 check it (")
	advice, _, _ = strings.Cut(advice, "): ")
	inside.Run(t, "sh", "-c", advice)
	l.do("vgchange -ay vg0", snapshot, merge)
	l.sameReports()
}

// A pool whose metadata cannot be written any more fails; with the disk back it works
// when it is next activated.
func TestBadPoolFailed(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	const size = 128 << 11
	under := inside.Disks(t, 1)[0]
	// lvm2 must not find the label on the disk itself, too.
	part := func(begin, length dmcore.Sectors) string {
		return fmt.Sprintf("%d %d linear %s %d\n", begin, length, under, begin+2048)
	}
	inside.Run(t, "dmsetup", "create", "disk", "--table", part(0, size))
	t.Cleanup(func() { inside.Run(t, "dmsetup", "remove", "--retry", "disk") })
	become := func(table string) {
		t.Helper()
		inside.Run(t, "dmsetup", "load", "disk", "--table", table)
		inside.Run(t, "dmsetup", "suspend", "--noflush", "--nolockfs", "disk")
		inside.Run(t, "dmsetup", "resume", "disk")
	}
	l := newLabOn(t, "/dev/mapper/disk", "-L 16M")
	begin, length := l.area()
	become(part(0, begin) + fmt.Sprintf("%d %d error\n", begin, length) + part(begin+length, size-begin-length))
	if out, err := inside.Try(t, "dd", "if=/dev/urandom", "of=/dev/vg0/t1", "bs=64k", "seek=10", "count=4", "oflag=direct", "conv=fsync"); err == nil {
		t.Errorf("written without metadata: %s", out)
	}
	if st := inside.Run(t, "dmsetup", "status", "vg0-pool-tpool"); !strings.HasSuffix(strings.TrimSpace(st), "Fail") {
		t.Fatalf("the pool is %s", st)
	}
	l.sameReports()
	l.refuses("has failed", snapshot, create, remove, merge, "lvchange -ay vg0/t1")
	l.do("vgchange -an vg0")
	if left := inside.Run(t, "dmsetup", "ls"); strings.Contains(left, "vg0") {
		t.Errorf("after deactivation: %s", left)
	}
	become(part(0, size))
	l.do("vgchange -ay vg0")
	l.sameReports()
	l.do(snapshot)
	l.do("vgchange -an vg0")
	l.dump()
}

// A pool without room, that fails what needs some: volumes can be removed, and it can
// be extended.
func TestBadPoolFull(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	l := newLab(t, "-L 8M --errorwhenfull y")
	if out, err := inside.Try(t, "dd", "if=/dev/urandom", "of=/dev/vg0/t1", "bs=64k", "oflag=direct"); err == nil {
		t.Errorf("more than there is room for was written: %s", out)
	}
	l.sameReports()
	l.refuses("its data is full", snapshot, create)
	l.do(remove, "lvextend -L +16M vg0/pool")
	inside.Run(t, "dd", "if=/dev/urandom", "of=/dev/vg0/t1", "bs=64k", "count=200", "oflag=direct")
	l.do(snapshot)
	l.sameReports()
}

// A pool without room, that has those who need some wait: nothing hangs but them, and
// they go on when it is extended.
func TestBadPoolQueues(t *testing.T) {
	l := newLab(t, "-L 8M --errorwhenfull n")
	dd := exec.Command("dd", "if=/dev/urandom", "of=/dev/vg0/t1", "bs=64k", "count=200", "oflag=direct")
	if err := dd.Start(); err != nil {
		t.Fatal(err)
	}
	inside.Run(t, "timeout", "60", "sh", "-c", "until dmsetup status vg0-pool-tpool | grep -q out_of_data_space; do :; done")
	l.sameReports()
	l.refuses("its data is full", snapshot, create)
	begun := time.Now()
	l.do("lvextend -L +16M vg0/pool")
	if err := dd.Wait(); err != nil {
		t.Errorf("who waited for room: %v", err)
	}
	// The kernel's own limit (no_space_timeout) is 60 s; then it fails what waits.
	if took := time.Since(begun); took > 50*time.Second {
		t.Errorf("to be extended took %v", took)
	}
	l.sameReports()
}

// A pool with little room for metadata takes no new volumes until it has more.
func TestBadPoolMetadata(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	l := newLab(t, "-L 16M")
	l.do("vgchange -an vg0")
	l.change(func(p *thinmeta.Pool) error {
		for id := uint32(1000); p.Usage().UsedMetadata*100 < p.Usage().Metadata*80; id++ {
			if err := p.CreateThin(id); err != nil {
				return err
			}
		}
		return p.Commit()
	})
	l.do("vgchange -ay vg0")
	l.sameReports()
	l.refuses("too little of its metadata is free", snapshot, create)
	l.do(remove, "lvextend --poolmetadatasize +4M vg0/pool", snapshot)
	l.sameReports()
	l.do("vgchange -an vg0")
	l.dump()
}
