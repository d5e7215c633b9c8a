package lvm

import (
	"errors"
	"testing"
)

func TestLists(t *testing.T) {
	vg := &VG{Name: "vg0", Tags: []string{"all"}}
	lv := &LV{Name: "web", Tags: []string{"db"}}
	for _, c := range []struct {
		name  string
		lists Lists
		allow bool
	}{
		{"nothing set", Lists{}, true},
		{"an empty list", Lists{Volumes: []string{}}, false},
		{"the group", Lists{Volumes: []string{"vg1", "vg0"}}, true},
		{"the volume", Lists{Volumes: []string{"vg0/web"}}, true},
		{"others", Lists{Volumes: []string{"vg0/we", "vg0/web2", "vg", "vg0/", "web", "", "@", "@vg0", "@dba"}}, false},
		{"a tag of the volume", Lists{Volumes: []string{"@db"}}, true},
		{"a tag of the group", Lists{Volumes: []string{"@all"}}, true},
		{"any tag of the host, which has none", Lists{Volumes: []string{"@*"}}, false},
		{"any tag of the host, another", Lists{Volumes: []string{"@*"}, HostTags: []string{"web"}}, false},
		{"any tag of the host", Lists{Volumes: []string{"@*"}, HostTags: []string{"x", "db"}}, true},
		{"host tags alone", Lists{HostTags: []string{"all"}}, true},
		{"host tags alone, others", Lists{HostTags: []string{"vg0"}}, false},
		{"a list beside host tags", Lists{Volumes: []string{"vg0"}, HostTags: []string{"other"}}, true},
	} {
		vg.lists = &c.lists
		if err := vg.allowed(lv); (err == nil) != c.allow || err != nil && (!errors.Is(err, ErrExcluded) || !errors.Is(err, ErrInvalid)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, c := range []struct {
		auto, flags []string
		excluded    bool
		activates   bool
	}{
		{nil, nil, false, true},
		{nil, []string{"NOAUTOACTIVATE"}, false, false},
		{nil, []string{"ACTIVATION_SKIP"}, false, false},
		{[]string{}, nil, true, false},
		{[]string{"vg0/web"}, nil, false, true},
		{[]string{"vg1"}, nil, true, false},
	} {
		vg.lists = &Lists{Auto: c.auto}
		lv.Flags = c.flags
		if vg.AutoExcluded(lv) != c.excluded || vg.autoActivates(lv) != c.activates {
			t.Errorf("%+v: excluded %t, activates %t", c, vg.AutoExcluded(lv), vg.autoActivates(lv))
		}
	}
}

// A list maps whole units read-only, but for what the kernel must write.
func TestListsReadOnly(t *testing.T) {
	r := newRig(1)
	r.group(t, "vg0", PVOptions{}, "m0")
	vg, err := r.Load(t.Context(), "vg0")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := vg.AddStriped(StripedSpec{LinearSpec: LinearSpec{Name: "web", Size: Size{Bytes: 2 << 20}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := vg.AddSnapshots([]SnapshotSpec{{Origin: "web", Name: "s", Size: Size{Bytes: 1 << 20}}}); err != nil {
		t.Fatal(err)
	}
	for _, list := range [][]string{nil, {"vg0/web"}, {"vg0/s"}} {
		r.Lists.ReadOnly = list
		acts, err := vg.Activations("s", pvDevice(vg))
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range acts {
			if want := len(list) > 0 && list[0] == "vg0/web" && a.Layer != layerCOW; a.ReadOnly != want {
				t.Errorf("%v: %s is read-only: %t", list, a.Name, a.ReadOnly)
			}
		}
	}
}

// What a list excludes is not activated when it is made, and a pool not for it.
func TestListsOfThins(t *testing.T) {
	ctx := t.Context()
	w := freshThinWorld(t)
	must(t, makePool.do(ctx, w))
	must(t, makeFirst.do(ctx, w))
	var warned []error
	w.Warn = func(err error) { warned = append(warned, err) }
	w.Store.Lists = Lists{Volumes: []string{"other"}}
	make := func(name string) error {
		_, err := w.CreateThins(ctx, "vg", []ThinSpec{{Pool: "pool", Name: name, Size: extents(1)}}, thinOn)
		return err
	}
	must(t, make("t2")) // the pool is live for t1
	if w.id("t2") != 0 || len(warned) != 1 || !errors.Is(warned[0], ErrExcluded) {
		t.Errorf("t2 is mapped to %d, %v", w.id("t2"), warned)
	}
	must(t, errors.Join(w.Deactivate(ctx, Ref{"vg", "t1"}), w.Deactivate(ctx, Ref{"vg", "pool"})))
	if err := make("t3"); !errors.Is(err, ErrExcluded) {
		t.Errorf("a volume in a pool that may not be activated: %v", err)
	}
	if _, _, err := w.CreateThinPool(ctx, "vg", ThinPoolSpec{Name: "new", Size: extents(1)}, true); !errors.Is(err, ErrExcluded) {
		t.Errorf("a pool: %v", err)
	}
	if vg := w.rig.load(t, "vg"); vg.LV("t3") != nil || vg.LV("new") != nil {
		t.Error("what was refused is there")
	}
	w.Store.Lists = Lists{Volumes: []string{"vg"}}
	must(t, make("t3"))
	if w.id("t3") == 0 {
		t.Error("t3 is not active")
	}
	must(t, w.Remove(ctx, []Ref{{"vg", "t3"}}))
	w.settled("in the end")
}
