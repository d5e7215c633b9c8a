package vm

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Whoever loses the power while thin pools and what is in them are changed, and somebody
// writes, finds the group as it was before or after the change. Disks lose what was not
// flushed.
func TestPowerCutInPools(t *testing.T) {
	rounds := 20
	if testing.Short() {
		rounds = 1
	}
	p := newPools(t)
	for i := range rounds {
		t.Logf("round %d", i)
		if p.round((*pools).cut); t.Failed() {
			return
		}
	}
}

// So does who kills cowhand and its guardian. The writer goes on when they are gone, after
// `cowhand recover` at the latest.
func TestDeathInPools(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	p := newPools(t)
	for i := range 30 {
		t.Logf("round %d", i)
		if p.round((*pools).die); t.Failed() {
			return
		}
	}
}

// pools is a rig with thin pools, in which web is the volume that is always written to.
type pools struct {
	*rig
	made    int             // volumes, for their names
	ofWeb   map[string]bool // snapshots of web
	waiting bool            // web waits for a merge
}

func newPools(t *testing.T) *pools {
	p := &pools{rig: newRig(t, Config{Disks: []Disk{{MiB: 160, Cache: true}, {MiB: 160, Cache: true}}}), ofWeb: map[string]bool{}}
	p.lvm2("vgcreate vg0 /dev/vda /dev/vdb")
	p.do("lvcreate -y -T -L 24M -V 16M -n web vg0/pool", "lvcreate -y -L 8M -n thick vg0")
	for _, lv := range []string{"web", "thick"} {
		p.may[lv] = p.write(lv, 100)
	}
	return p
}

// write writes more records to a volume.
func (p *pools) write(lv string, count int) held {
	p.Helper()
	out, err := p.m.do(p.Context(), nil, []string{"/cowhand/bin/recorder", "write", "/dev/vg0/" + lv, strconv.Itoa(count)})
	if err != nil {
		p.Fatal(err)
	}
	f := strings.Fields(out)
	n, err := strconv.ParseUint(f[len(f)-1], 10, 64)
	if err != nil {
		p.Fatal(err)
	}
	return held{least: n, most: n}
}

// writing is the writer of web.
type writing struct {
	*Process
	acked *heard // the newest record that is on disk
}

func (w writing) newest(t *testing.T) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(w.acked.newest(), 10, 64)
	if err != nil {
		t.Fatalf("the writer says %q", w.Output())
	}
	return n
}

// round does some changes, has the last of them end early, and looks what is left.
func (p *pools) round(end func(*pools, writing, op)) {
	p.Helper()
	p.waiting = false
	w := writing{acked: newHeard(1)}
	var err error
	if w.Process, err = p.m.begin(w.acked, []string{"/cowhand/bin/recorder", "write", "/dev/vg0/web"}); err != nil {
		p.Fatal(err)
	}
	<-w.acked.reached
	for n := p.rng.IntN(3); n > 0; n-- {
		p.written(w)
		p.all(p.pick())
	}
	p.written(w)
	end(p, w, p.pick())
	p.written(w)
	p.look(p.holds)
	p.ofWeb = map[string]bool{}
	for _, v := range p.volumes() {
		p.ofWeb[v.name] = v.origin == "web" && v.pool == "pool"
	}
}

// written notes how far the writer has come.
func (p *pools) written(w writing) {
	p.Helper()
	if !p.waiting {
		p.may["web"] = held{least: w.newest(p.T), most: anything}
	}
}

// cut cuts the power in a change.
func (p *pools) cut(_ writing, o op) {
	p.Helper()
	p.cutIn(o, p.rng.IntN(30))
	if err := p.m.Start(p.Context()); err != nil {
		p.Fatal(err)
	}
}

// die kills who makes a change.
func (p *pools) die(w writing, o op) {
	p.Helper()
	p.dieIn(o, p.rng.IntN(30))
	// There is no libvirt in this VM: devices are put in order first.
	out, err := p.m.Run(p.Context(), append(slices.Clone(cowhandLVM[:len(cowhandLVM)-1]), "recover")...)
	if err != nil && !strings.Contains(out, "E-LIBVIRT") {
		p.Fatal(err)
	}
	for n := w.newest(p.T) + 64; w.newest(p.T) < n; { // the test's deadline ends a wait in vain
		p.m.Must("true")
	}
	if err := w.Signal(syscall.SIGTERM); err != nil {
		p.Fatal(err)
	}
	<-w.done
	p.merged()
	p.do("vgchange -an vg0")
}

// pick picks a change that can be made.
func (p *pools) pick() op {
	var thins, snaps []string
	for _, lv := range sorted(p.may) {
		if strings.HasPrefix(lv, "thin") {
			thins = append(thins, lv)
		}
		if p.ofWeb[lv] {
			snaps = append(snaps, lv)
		}
	}
	for {
		switch n := p.rng.IntN(10); {
		case n <= 1 && !p.waiting && len(thins) < 6:
			return p.snapshot()
		case n == 2 && len(thins) < 6:
			return p.create()
		case n == 3 && len(thins) > 1:
			return p.remove(thins[:1+p.rng.IntN(len(thins)-1)]...)
		case n == 4:
			return p.plain("extension of a pool", "lvextend -l +1 vg0/pool")
		case n == 5:
			return p.plain("extension of a pool's metadata", "lvextend --poolmetadatasize +4M vg0/pool")
		case n == 6 && len(thins) > 0:
			return p.mergeThin(thins[p.rng.IntN(len(thins))])
		case n == 7 && !p.waiting && len(snaps) > 0:
			return p.mergeLater(snaps[p.rng.IntN(len(snaps))])
		case n == 8 && p.may["thick"].least == p.may["thick"].most:
			return p.mergeThick()
		case n == 9:
			return p.another()
		}
	}
}

func (p *pools) name(prefix string) string {
	p.made++
	return fmt.Sprint(prefix, p.made)
}

// plain is a change that volumes do not show.
func (p *pools) plain(name string, commands ...string) op {
	o := op{name: name, begins: func() {}, ends: func() {}}
	for _, c := range commands {
		o.commands = append(o.commands, p.words(c))
	}
	return o
}

// snapshot takes a snapshot of what is being written.
func (p *pools) snapshot() op {
	s := p.name("thin")
	o := p.plain("snapshot "+s, "lvcreate -y -s -kn -n "+s+" vg0/web")
	o.begins = func() { p.may[s] = held{least: p.may["web"].least, most: anything, maybe: true} }
	o.ends = func() {
		p.may[s] = held{least: p.may[s].least, most: anything}
		p.ofWeb[s] = true
	}
	return o
}

// create makes an empty volume.
func (p *pools) create() op {
	s := p.name("thin")
	o := p.plain("volume "+s, "lvcreate -y -T -V 16M -n "+s+" vg0/pool")
	o.begins = func() { p.may[s] = held{maybe: true} }
	o.ends = func() { p.may[s] = held{} }
	return o
}

func (p *pools) remove(lvs ...string) op {
	lvs = slices.Clone(lvs)
	o := p.plain("removal of "+strings.Join(lvs, " "), "lvremove -y vg0/"+strings.Join(lvs, " vg0/"))
	o.begins = func() {
		for _, lv := range lvs {
			h := p.may[lv]
			p.widen(lv, h.least, h.most, true)
		}
	}
	o.ends = func() {
		for _, lv := range lvs {
			delete(p.may, lv)
		}
	}
	return o
}

// mergeThin takes a snapshot of a volume, writes to that, and goes back.
func (p *pools) mergeThin(s string) op {
	const more = 20
	was, f := p.may[s], p.name("thin")
	o := p.plain("a merge of "+f+" into "+s, "lvcreate -y -s -kn -n "+f+" vg0/"+s, "lvconvert --merge vg0/"+f)
	o.commands = slices.Insert(o.commands, 1, []string{"/cowhand/bin/recorder", "write", "/dev/vg0/" + s, strconv.Itoa(more)})
	o.begins = func() {
		delete(p.ofWeb, s) // as with lvm2, a volume that took another's place is nobody's snapshot
		p.widen(f, was.least, was.most, true)
		p.widen(s, was.least, plus(was.most, more), false)
	}
	o.ends = func() { delete(p.may, f); p.may[s] = was }
	return o
}

// mergeLater has a snapshot take the place of what is being written when that is next
// activated.
func (p *pools) mergeLater(s string) op {
	was := p.may[s]
	o := p.plain("a merge of "+s+" that waits", "lvconvert --merge vg0/"+s)
	o.begins = func() {
		p.waiting = true
		delete(p.ofWeb, s)
		p.widen(s, was.least, was.most, true)
		p.widen("web", was.least, was.most, false)
	}
	o.ends = func() { delete(p.may, s); p.may["web"] = was }
	return o
}

// mergeThick does what mergeThin does with a volume outside of the pool.
func (p *pools) mergeThick() op {
	const more = 20
	was, k := p.may["thick"], p.name("k")
	o := p.plain("a merge of "+k+" into thick", "lvcreate -y -s -L 8M -n "+k+" vg0/thick", "lvconvert --merge -b vg0/"+k)
	o.commands = slices.Insert(o.commands, 1, []string{"/cowhand/bin/recorder", "write", "/dev/vg0/thick", strconv.Itoa(more)})
	o.begins = func() {
		p.widen(k, was.least, was.most, true)
		p.widen("thick", was.least, plus(was.most, more), false)
	}
	o.ends = func() {
		delete(p.may, k)
		p.may["thick"] = was
		p.m.Must("timeout", "60", "sh", "-c", "while lvs vg0/"+k+" >/dev/null 2>&1; do sleep 0.2; done")
	}
	return o
}

// another makes a second pool with a volume, and removes it.
func (p *pools) another() op {
	x := p.name("x")
	pool := "pool" + x
	o := p.plain("pool "+pool, "lvcreate -y -T -L 4M -V 8M -n "+x+" vg0/"+pool, "lvremove -y vg0/"+pool)
	o.begins = func() { p.may[x] = held{maybe: true} }
	o.ends = func() { delete(p.may, x) }
	return o
}

func plus(n, more uint64) uint64 {
	if n > anything-more {
		return anything
	}
	return n + more
}
