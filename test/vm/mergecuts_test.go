package vm

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// The power is cut while several merges are begun, while they run, and while they are
// gone on with: three thick ones and a thin one that waits, all of one group. Each
// volume then is what its snapshot was or, if its merge was not recorded, what it had
// become. Disks lose what was not flushed.
func TestPowerCutInMerges(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 1
	}
	m := newMerges(t)
	for i := range rounds {
		t.Logf("round %d", i)
		m.round()
		if t.Failed() {
			return
		}
	}
}

// merges is a rig with volumes and the snapshots that are merged into them.
type merges struct {
	*rig
	snapOf        map[string]string // by origin
	before, after map[string]string // what an origin held when its snapshot was taken, and later
}

func newMerges(t *testing.T) *merges {
	// The origins lie on a disk so slow that merging takes seconds.
	r := newRig(t, Config{Disks: []Disk{{MiB: 160, Cache: true}, {MiB: 64, Cache: true, WriteMiB: 2}}})
	m := &merges{rig: r, snapOf: map[string]string{"o1": "k1", "o2": "k2", "o3": "k3", "t1": "f1"}, before: map[string]string{}, after: map[string]string{}}
	m.lvm2("vgcreate vg0 /dev/vda /dev/vdb")
	for _, o := range []string{"o1", "o2", "o3"} {
		m.do("lvcreate -y -L 8M -n " + o + " vg0 /dev/vdb")
	}
	m.do("lvcreate -y -T -L 24M -V 8M -n t1 vg0/pool /dev/vda")
	return m
}

// fill writes a word all over the first mebibytes of a volume.
func (m *merges) fill(lv, word string) {
	m.Helper()
	m.m.Must("sh", "-c", "yes "+word+" | dd of=/dev/vg0/"+lv+" bs=1M count=2 iflag=fullblock oflag=direct conv=fsync 2>&1")
}

// ready makes the snapshots that are not there, and writes to their origins.
func (m *merges) ready() {
	m.Helper()
	there := map[string]bool{}
	for _, v := range m.volumes() {
		there[v.name] = true
	}
	for _, o := range sorted(m.snapOf) {
		s := m.snapOf[o]
		if there[s] {
			continue
		}
		m.before[o] = sum(m.m, "/dev/vg0/"+o)
		if o == "t1" {
			m.do("lvcreate -y -s -kn -n " + s + " vg0/" + o)
		} else {
			m.do("lvcreate -y -s -L 8M -n " + s + " vg0/" + o + " /dev/vda")
		}
		m.fill(o, fmt.Sprint("after", m.rng.Uint32()))
		m.after[o] = sum(m.m, "/dev/vg0/"+o)
	}
}

func (m *merges) round() {
	m.Helper()
	m.ready()
	open := newHeard(1)
	if _, err := m.m.begin(open, []string{"sh", "-c", "exec 3</dev/vg0/t1; echo open; sleep 1000"}); err != nil {
		m.Fatal(err)
	}
	<-open.reached
	snaps := slices.Sorted(maps.Values(m.snapOf))
	m.rng.Shuffle(len(snaps), func(i, j int) { snaps[i], snaps[j] = snaps[j], snaps[i] })
	begin := op{name: "merges", commands: [][]string{m.words("lvconvert --merge -b vg0/" + strings.Join(snaps, " vg0/"))}, begins: func() {}, ends: m.underWay}
	m.cutIn(begin, m.rng.IntN(45))
	for range m.rng.IntN(3) {
		if err := m.m.Start(m.Context()); err != nil {
			m.Fatal(err)
		}
		goOn := op{name: "activation", commands: [][]string{m.words("vgchange -ay -K vg0")}, begins: func() {}, ends: m.underWay}
		m.cutIn(goOn, m.rng.IntN(45))
	}
	if err := m.m.Start(m.Context()); err != nil {
		m.Fatal(err)
	}
	m.look(m.oneOrOther)
}

// underWay waits until a merge has copied something, or none is left.
func (m *merges) underWay() {
	m.Helper()
	m.m.Must("timeout", "60", "sh", "-c", `
		s=$(dmsetup status --target snapshot-merge)
		while [ "$(dmsetup status --target snapshot-merge)" = "$s" ] && [ -n "$s" ]; do :; done`)
}

// oneOrOther fails the test unless each origin holds what it may.
func (m *merges) oneOrOther(there []string) {
	m.Helper()
	for _, o := range sorted(m.snapOf) {
		s := m.snapOf[o]
		if !slices.Contains(there, s) {
			if got := sum(m.m, "/dev/vg0/"+o); got != m.before[o] {
				m.Errorf("after the merge %s holds %s, want its snapshot's %s; it held %s when the merge began", o, got, m.before[o], m.after[o])
			}
			m.Logf("%s was merged", s)
			continue
		}
		if got := sum(m.m, "/dev/vg0/"+o); got != m.after[o] {
			m.Errorf("without a merge %s holds %s, want %s", o, got, m.after[o])
		}
		if got := sum(m.m, "/dev/vg0/"+s); got != m.before[o] {
			m.Errorf("snapshot %s holds %s, want %s", s, got, m.before[o])
		}
	}
}
