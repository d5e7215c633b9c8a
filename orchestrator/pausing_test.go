package orchestrator

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"cowhand/hypervisor"
	"cowhand/lvm"
)

var errFull = errors.New("no space")

func ref(lv string) lvm.Ref { return lvm.Ref{VG: "vg", LV: lv} }

func TestShortages(t *testing.T) {
	fill := func(lv string, part lvm.Part, used float64) lvm.Fill {
		return lvm.Fill{Space: lvm.Space{Ref: ref(lv), Part: part}, Used: used}
	}
	whole, gone := fill("whole", "", 99), fill("gone", "", 100)
	whole.Whole, gone.Lost = true, true
	policy := func(_ *lvm.VG, lv *lvm.LV) lvm.ExtendPolicy {
		switch lv.Name {
		case "b":
			return lvm.ExtendPolicy{}
		case "late":
			return lvm.ExtendPolicy{Threshold: 98, Amount: 20}
		}
		return lvm.ExtendPolicy{Threshold: 70, Amount: 20}
	}
	vg := &lvm.VG{Name: "vg"}
	for _, name := range []string{"a", "b", "c", "late", "pool", "whole", "gone"} {
		vg.LVs = append(vg.LVs, &lvm.LV{Name: name, Tags: []string{"cowhand.set=s"}})
	}
	vg.LVs = append(vg.LVs, &lvm.LV{Name: "theirs"})
	fills := lvm.Fills{Groups: map[string]*lvm.VG{"vg": vg}, Spaces: []lvm.Fill{fill("late", "", 97), fill("theirs", "", 97), fill("a", "", 94.9), fill("b", "", 95), fill("c", "", 97), fill("pool", lvm.PoolData, 99), fill("pool", lvm.PoolMetadata, 10), whole, gone}}
	tried := []lvm.Autoextended{
		{Space: lvm.Space{Ref: ref("c")}, Err: errFull}, {Space: lvm.Space{Ref: ref("b")}, Is: 2},
		{Space: lvm.Space{Ref: ref("pool"), Part: lvm.PoolMetadata}, Err: errors.New("of the other part")},
		{Space: lvm.Space{Ref: ref("pool"), Part: lvm.PoolData}, Err: errFull},
	}
	for _, p := range []Pausing{{}, {At: 95}, {At: 95, Who: PauseNone}, {At: 100, Who: PauseAll}} {
		if s := p.shortages(fills, tried, policy); len(s) != 0 {
			t.Errorf("%+v: %+v, want none", p, s)
		}
	}
	var got []string
	for _, s := range (Pausing{At: 95, Who: PauseTrials}).shortages(fills, tried, policy) {
		got = append(got, fmt.Sprintf("%s %s", s.Space, s.why))
	}
	want := `vg/b is 95.0% full, and is not set to be extended
vg/c is 97.0% full, and cannot be extended: no space
vg/pool (data) is 99.0% full, and cannot be extended: no space
vg/gone is lost`
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// pausingVG has an origin with a snapshot of a set and one of somebody else's, and
// a pool with an origin, its snapshot of a set, and a volume beside them.
func pausingVG() *lvm.VG {
	lv := func(name string, seg lvm.Segment, tags ...string) *lvm.LV {
		return &lvm.LV{Name: name, Tags: tags, Segments: []*lvm.Segment{&seg}}
	}
	set := []string{"cowhand.set=s", "cowhand.guest=g"}
	snapshot := func(cow string) *lvm.LV {
		return lv("h"+cow, lvm.Segment{Type: "snapshot", Origin: "root", COW: cow, ChunkSize: 8})
	}
	thin := func(origin string) lvm.Segment {
		return lvm.Segment{Type: "thin", Thin: &lvm.Thin{Pool: "pool", Origin: origin}}
	}
	return &lvm.VG{Name: "vg", LVs: []*lvm.LV{
		lv("root", lvm.Segment{Type: "striped"}), lv("set", lvm.Segment{Type: "striped"}, set...), lv("other", lvm.Segment{Type: "striped"}), lv("plain", lvm.Segment{Type: "striped"}),
		snapshot("set"), snapshot("other"),
		lv("pool", lvm.Segment{Type: "thin-pool", ThinPool: &lvm.ThinPool{}}), lv("thin", thin("")), lv("thinset", thin("thin"), set...), lv("beside", thin("")),
	}}
}

// Who is paused for which space, by policy.
func TestWhoIsPaused(t *testing.T) {
	vg := pausingVG()
	for _, tt := range []struct {
		disk  string
		space lvm.Space
		want  string // the policies that pause
		lost  bool   // it stays paused when the space is lost
	}{
		{"set", lvm.Space{Ref: ref("set")}, "trials sets all", true},
		{"root", lvm.Space{Ref: ref("set")}, "sets all", false},
		{"other", lvm.Space{Ref: ref("other")}, "all", true},
		{"root", lvm.Space{Ref: ref("other")}, "all", false},
		{"plain", lvm.Space{Ref: ref("set")}, "", false},
		{"set", lvm.Space{Ref: ref("other")}, "", false},
		{"thinset", lvm.Space{Ref: ref("pool"), Part: lvm.PoolData}, "trials sets all", true},
		{"thin", lvm.Space{Ref: ref("pool"), Part: lvm.PoolMetadata}, "sets all", true},
		{"beside", lvm.Space{Ref: ref("pool"), Part: lvm.PoolData}, "all", true},
		{"root", lvm.Space{Ref: ref("pool"), Part: lvm.PoolData}, "", false},
		{"set", lvm.Space{Ref: ref("removed")}, "", false},
		{"removed", lvm.Space{Ref: ref("set")}, "", false},
	} {
		var got []string
		for _, who := range []PauseWho{PauseTrials, PauseSets, PauseAll} {
			p := Pausing{At: 95, Who: who}
			g := upGuest{name: "g", uuid: "u", state: hypervisor.Running, disks: []GuestDisk{{LV: ref("elsewhere")}, {Disk: hypervisor.Disk{Target: "vda"}, LV: ref(tt.disk), OnLV: true}}}
			short := []shortage{{lvm.Fill{Space: tt.space, Used: 96}, "is short"}}
			groups := map[string]*lvm.VG{"vg": vg}
			list := p.rule(nil, []upGuest{g}, short, groups)
			if len(list) > 0 {
				if r := list[0]; len(list) != 1 || r.verdict != pause || r.hold.Disk != "vda" || r.hold.space() != tt.space || r.hold.UUID != "u" {
					t.Errorf("%s for %s: %+v", tt.disk, tt.space, list)
				}
				got = append(got, string(who))
			}
			short[0].Lost = true
			if list := p.rule(nil, []upGuest{g}, short, groups); len(list) != 0 {
				t.Errorf("%s for %s, which is lost: %+v", tt.disk, tt.space, list)
			}
			if _, lost, ok := p.concern(g, short, groups); ok != lost || ok != (tt.lost && len(list) > 0) {
				t.Errorf("%s for %s, which is lost: stays %v", tt.disk, tt.space, ok)
			}
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s for %s: paused with %q, want %q", tt.disk, tt.space, strings.Join(got, " "), tt.want)
		}
	}
}

// What is done about a guest that was paused, whatever happened since.
func TestRule(t *testing.T) {
	const paused, running = hypervisor.Paused, hypervisor.Running
	space := lvm.Space{Ref: ref("set")}
	full := []shortage{{lvm.Fill{Space: space, Used: 96}, "is 96.0% full, and cannot be extended: no space"}}
	lost := []shortage{{lvm.Fill{Space: space, Used: 100, Lost: true}, "is lost"}}
	for _, tt := range []struct {
		name     string
		activity string // as written down
		letGo    bool
		state    hypervisor.State
		now      string // its activity
		short    []shortage
		unseen   bool // the group could not be looked at
		want     []verdict
	}{
		{"no room yet", "1", false, paused, "1", full, false, []verdict{stays}},
		{"room", "1", false, paused, "1", nil, false, []verdict{resume}},
		{"nobody knows whether there is room", "1", false, paused, "1", nil, true, []verdict{stays}},
		{"lost", "1", false, paused, "1", lost, false, []verdict{record}},
		{"somebody resumed it", "1", false, running, "2", full, false, []verdict{letGo}},
		{"somebody resumed it, and there is room", "1", false, running, "2", nil, false, []verdict{forget}},
		{"somebody resumed it, and it did nothing", "1", false, running, "1", full, false, []verdict{letGo}},
		{"somebody resumed and paused it", "1", false, paused, "2", full, false, []verdict{letGo}},
		{"somebody resumed and paused it, and there is room", "1", false, paused, "2", nil, false, []verdict{forget}},
		{"let go, and runs", "1", true, running, "9", full, false, []verdict{his}},
		{"let go, and paused by somebody", "1", true, paused, "9", full, false, []verdict{his}},
		{"let go, paused by somebody, and room", "1", true, paused, "1", nil, false, []verdict{forget}},
		{"off", "1", false, hypervisor.ShutOff, "", full, false, []verdict{forget}},
		{"its disk failed", "1", false, hypervisor.Stalled, "1", full, false, []verdict{stays}},
		{"its disk failed, and there is room", "1", false, hypervisor.Stalled, "1", nil, false, []verdict{resume}},
		{"its disk failed, and is lost", "1", false, hypervisor.Stalled, "1", lost, false, []verdict{record}},
		{"somebody resumed it, and its disk failed", "1", false, hypervisor.Stalled, "2", full, false, []verdict{letGo}},
		{"died before it was paused", "", false, running, "1", full, false, []verdict{forget, pause}},
		{"died before it was paused, and there is room", "", false, running, "1", nil, false, []verdict{forget}},
		{"died when it was paused", "", false, paused, "1", full, false, []verdict{record}},
		{"died when it was paused, and there is room", "", false, paused, "1", nil, false, []verdict{resume}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			groups := map[string]*lvm.VG{"vg": pausingVG()}
			if tt.unseen {
				groups = nil
			}
			h := Hold{Guest: "g", UUID: "u", Volume: space.Ref, Activity: tt.activity, LetGo: tt.letGo}
			g := upGuest{name: "g", uuid: "u", state: tt.state, activity: tt.now, disks: []GuestDisk{{LV: ref("set"), OnLV: true}}}
			var got []verdict
			for _, r := range (Pausing{At: 95, Who: PauseTrials}).rule([]Hold{h}, []upGuest{g}, tt.short, groups) {
				got = append(got, r.verdict)
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("verdicts %v, want %v", got, tt.want)
			}
		})
	}
	t.Run("cannot be looked at", func(t *testing.T) {
		list := (Pausing{At: 95, Who: PauseTrials}).rule([]Hold{{UUID: "u", Activity: "1"}}, []upGuest{{uuid: "u", unknown: true}}, nil, nil)
		if len(list) != 1 || list[0].verdict != stays {
			t.Errorf("%+v", list)
		}
	})
	t.Run("undefined", func(t *testing.T) {
		list := (Pausing{At: 95, Who: PauseTrials}).rule([]Hold{{UUID: "u", Activity: "1"}}, nil, full, nil)
		if len(list) != 1 || list[0].verdict != forget {
			t.Errorf("%+v", list)
		}
	})
}
