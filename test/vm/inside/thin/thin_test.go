package thin

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"cowhand/lvm"
	"cowhand/test/vm/inside"
)

// others are volumes of other kinds, all of them active.
var others = []string{
	"lvcreate -y -T -V 12M -n with-dash vg0/pool",
	"lvcreate -y -s -pr -kn -n ts2 vg0/ts1",
	"lvcreate -y -T -L 16M --chunksize 192k -Zn --discards nopassdown --errorwhenfull y -V 8M -n o1 vg0/odd",
	"vgchange -ay -K vg0",
}

// What cowhand would map is what lvm2 has mapped: every name, UUID and table, and
// no device more or less. And either takes down what the other made, and makes the
// same again.
func TestThinTables(t *testing.T) {
	disk := some(t, others...)
	vg := load(t, engine(disk))
	if err := vg.Validate(); err != nil {
		t.Error(err)
	}
	equal(t, "lvm2 has", devices(t), want(t, vg))
	// A backup file that lvm2 wrote reads the same, and is printed to the byte.
	file := t.TempDir() + "/vg0"
	inside.Run(t, "vgcfgbackup", "-f", file, "vg0")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	again, err := lvm.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.FileText(again.Header()); err != nil || !bytes.Equal(got, text) {
		t.Errorf("%v\nprinted\n%s\nwas\n%s", err, got, text)
	}
	run := map[string]func(words ...string){
		"lvm2":    func(words ...string) { inside.Run(t, words...) },
		"cowhand": func(words ...string) { cowhand(t, disk, words...) },
	}
	before, told := devices(t), reports(t)
	for _, turn := range [][2]string{{"lvm2", "cowhand"}, {"cowhand", "lvm2"}} {
		run[turn[0]]("vgchange", "-an", "vg0")
		if left := devices(t); len(left) > 0 {
			t.Fatalf("%s left %v", turn[0], left)
		}
		run[turn[1]]("vgchange", "-ay", "-K", "vg0")
		equal(t, turn[0]+" took down and "+turn[1]+" made", devices(t), before)
		if now := reports(t); now != told {
			t.Errorf("lvm2 tells\n%s\nand told before\n%s", now, told)
		}
		if t.Failed() {
			return
		}
	}
	inside.Run(t, "vgck", "vg0")
}

// lvs tells the same by either program, of what is active and of what is not.
func TestThinReports(t *testing.T) {
	disk := some(t, others...)
	inside.Run(t, "dd", "if=/dev/zero", "of=/dev/vg0/t1", "bs=64k", "count=100", "oflag=direct")
	sameReports(t, disk)
	for _, lv := range []string{"pool", "thick", "ts1", "base"} {
		inside.Run(t, "lvchange", "-an", "vg0/"+lv)
	}
	sameReports(t, disk)
}

// A pool comes with the first volume in it and goes with the last.
func TestThinPoolIsShared(t *testing.T) {
	disk := some(t)
	e := engine(disk)
	inside.Run(t, "vgchange", "-an", "vg0")
	const pool = "pool-tpool pool_tdata pool_tmeta"
	for _, step := range []struct {
		what string
		lv   string
		want string
	}{
		{"up", "t1", "[" + pool + " t1]"},
		{"up", "ts1", "[" + pool + " t1 ts1]"},
		{"up", "text", "[base-real " + pool + " t1 text ts1]"},
		{"down", "t1", "[base-real " + pool + " text ts1]"},
		{"up", "pool", "[base-real pool " + pool + " text ts1]"},
		{"down", "text", "[pool " + pool + " ts1]"},
		{"down", "ts1", "[pool " + pool + "]"},
		{"up", "cow", "[cow cow-cow pool " + pool + " thick thick-real]"},
		{"down", "pool", "[cow cow-cow " + pool + " thick thick-real]"},
		{"down", "cow", "[]"},
		{"up", "new", "[new new_tdata new_tmeta]"},
		{"down", "new", "[]"},
	} {
		do := e.Activate
		if step.what == "down" {
			do = e.Deactivate
		}
		if err := do(t.Context(), ref(step.lv)); err != nil {
			t.Fatalf("%s %s: %v", step.lv, step.what, err)
		}
		if got := active(t); got != step.want {
			t.Fatalf("%s %s: %s, want %s", step.lv, step.what, got, step.want)
		}
	}
	for _, part := range []string{"pool_tdata", "pool_tmeta", "lvol0_pmspare"} {
		if err := e.Activate(t.Context(), ref(part)); !errors.Is(err, lvm.ErrInvalid) {
			t.Errorf("%s: %v", part, err)
		}
	}
}

// A crash between the commit that records volumes and the kernel's knowing them:
// the next activation sends the messages, and takes them out of the metadata.
func TestThinPendingMessages(t *testing.T) {
	disk := some(t)
	e := engine(disk)
	inside.Run(t, "vgchange", "-an", "vg0")
	record := func(change func(vg *lvm.VG, p *lvm.ThinPool)) {
		t.Helper()
		vg := load(t, e).Clone()
		p := vg.LV("pool").ThinPool()
		change(vg, p)
		if len(p.Messages) > 0 {
			p.TransactionID++
		}
		pending, err := e.Store.Prepare(t.Context(), vg)
		if err != nil {
			t.Fatal(err)
		}
		if err := pending.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	add := func(vg *lvm.VG, p *lvm.ThinPool, name, origin string, id uint32) {
		next, err := lvm.NewID(nil)
		if err != nil {
			t.Fatal(err)
		}
		vg.LVs = append(vg.LVs, &lvm.LV{Name: name, ID: next, Status: vg.LV("t1").Status, Segments: []*lvm.Segment{{
			Count: vg.LV("t1").Extents(), Type: "thin",
			Thin: &lvm.Thin{Pool: "pool", TransactionID: p.TransactionID, DeviceID: id, Origin: origin},
		}}})
		p.Messages = append(p.Messages, lvm.ThinMessage{Create: name})
	}
	check := func(when string, messages int) {
		t.Helper()
		vg := load(t, e)
		p := vg.LV("pool").ThinPool()
		if got := kernelID(t, e, vg, "pool"); got != p.TransactionID || len(p.Messages) != messages {
			t.Errorf("%s: the kernel is at %d, the metadata at %d with messages %v", when, got, p.TransactionID, p.Messages)
		}
		inside.Run(t, "vgck", "vg0")
	}
	record(func(vg *lvm.VG, p *lvm.ThinPool) {
		add(vg, p, "n1", "", 100)
		add(vg, p, "n2", "t1", 101)
	})
	// The volume itself is one that only the messages make.
	if err := e.Activate(t.Context(), ref("n1")); err != nil {
		t.Fatal(err)
	}
	check("two volumes", 0)
	if err := e.Activate(t.Context(), ref("n2")); err != nil {
		t.Fatal(err)
	}
	if err := e.Activate(t.Context(), ref("t1")); err != nil {
		t.Fatal(err)
	}

	// A snapshot of an active volume holds what was written to it before.
	inside.Run(t, "dd", "if=/dev/urandom", "of=/dev/vg0/t1", "bs=64k", "count=4", "oflag=direct")
	record(func(vg *lvm.VG, p *lvm.ThinPool) { add(vg, p, "n3", "t1", 102) })
	if err := e.Activate(t.Context(), ref("n3")); err != nil {
		t.Fatal(err)
	}
	check("a snapshot of an active volume", 0)
	inside.Run(t, "cmp", "-n", "262144", "/dev/vg0/t1", "/dev/vg0/n3")
	if info := inside.Run(t, "dmsetup", "info", "vg0-t1"); !strings.Contains(info, "ACTIVE") {
		t.Errorf("the origin: %s", info)
	}

	// A deletion that the kernel got, but nobody noted.
	if err := e.Deactivate(t.Context(), ref("n3")); err != nil {
		t.Fatal(err)
	}
	id := load(t, e).LV("pool").ThinPool().TransactionID
	record(func(vg *lvm.VG, p *lvm.ThinPool) {
		for i, lv := range vg.LVs {
			if lv.Name == "n3" {
				vg.LVs = append(vg.LVs[:i:i], vg.LVs[i+1:]...)
				break
			}
		}
		p.Messages = append(p.Messages, lvm.ThinMessage{Delete: 102})
	})
	inside.Run(t, "dmsetup", "message", "vg0-pool-tpool", "0", "delete 102")
	inside.Run(t, "dmsetup", "message", "vg0-pool-tpool", "0", "set_transaction_id "+text(id)+" "+text(id+1))
	if err := e.Activate(t.Context(), ref("thick")); err != nil {
		t.Fatal(err)
	}
	check("a deletion that was carried out", 0)

	// A pool that somebody else has changed is left alone, and not left active.
	inside.Run(t, "vgchange", "-an", "vg0")
	record(func(_ *lvm.VG, p *lvm.ThinPool) { p.TransactionID += 3 })
	err := e.Activate(t.Context(), ref("t1"))
	if !errors.Is(err, lvm.ErrTransaction) {
		t.Errorf("ids that do not match: %v", err)
	}
	if got := active(t); got != "[]" {
		t.Errorf("active: %s", got)
	}
	record(func(_ *lvm.VG, p *lvm.ThinPool) { p.TransactionID -= 3 })
	if err := e.Activate(t.Context(), ref("t1")); err != nil {
		t.Error(err)
	}
}
