package lvm

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// pastVG has a chain of snapshots: a, b of a, c of b, d of c, e of d, and f of c.
func pastVG(t testing.TB, record bool) *VG {
	vg := testVG(t, 100)
	addPool(t, vg, "pool", 8)
	addThin(t, vg, ThinSpec{Pool: "pool", Name: "a", Size: extents(2)})
	for _, s := range []string{"b of a", "c of b", "d of c", "e of d", "f of c"} {
		name, origin, _ := strings.Cut(s, " of ")
		addThin(t, vg, ThinSpec{Pool: "pool", Name: name, Origin: origin})
	}
	vg.settings.RecordHistory = record
	return vg
}

// remembers is what a group remembers, in its order.
func remembers(vg *VG) string {
	var list []string
	for _, h := range vg.Historical {
		list = append(list, h.Name+"("+h.Origin+")"+strings.Join(h.Descendants, ","))
	}
	return strings.Join(list, " ")
}

func TestHistory(t *testing.T) {
	vg := pastVG(t, true)
	remove := func(want string, names ...string) {
		t.Helper()
		vg.ForgetMessages("pool")
		must(t, vg.Remove(names...))
		if got := remembers(vg); got != want {
			t.Errorf("%v is gone: %q, want %q", names, got, want)
		}
		must(t, vg.Validate())
		settings := vg.settings
		if vg = reread(t, vg); remembers(vg) != want {
			t.Errorf("%v is gone: reads as %q", names, remembers(vg))
		}
		vg.settings = settings
	}
	remove("d(c)e", "d")
	remove("d(-c)e c(b)f", "c")
	if got := vg.PastDescendants("-c"); !slices.Equal(got, []string{"-d", "f"}) || vg.PastOrigin("e") != "-d" || !slices.Equal(vg.PastDescendants("b"), []string{"-c"}) {
		t.Errorf("-c has %v, e is of %s, b has %v", got, vg.PastOrigin("e"), vg.PastDescendants("b"))
	}
	must(t, vg.Rename("e", "five"))
	must(t, vg.Rename("b", "two"))
	if got := remembers(vg); got != "d(-c)five c(two)f" {
		t.Errorf("renamed: %s", got)
	}
	if err := vg.Rename("f", "c"); !errors.Is(err, ErrExists) {
		t.Errorf("the name of one that is gone: %v", err)
	}
	must(t, vg.ForgetPast("c")) // f is there, and two: of that nothing can be said
	if got := remembers(vg); got != "d(two)five" {
		t.Errorf("c is forgotten: %s", got)
	}
	remove("d(-two)five two(a)", "two")
	remove("", "five") // nothing is left that came from them
	if err := vg.ForgetPast("d"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// Where nothing is recorded, what is remembered stays true: lvm2 would not read the
// group otherwise.
func TestHistoryStaysTrue(t *testing.T) {
	for _, c := range []struct {
		name string
		gone []string
		want string
	}{
		{"a descendant", []string{"e"}, ""},
		{"the origin", []string{"b"}, "c()f d(-c)e"},
		{"all at once", []string{"b", "e", "f"}, ""},
		{"others", []string{"a"}, "c(b)f d(-c)e"},
		{"the pool", []string{"a", "b", "e", "f", "pool"}, ""},
	} {
		vg := pastVG(t, true)
		must(t, vg.Remove("c", "d"))
		vg.ForgetMessages("pool")
		if got := remembers(vg); got != "c(b)f d(-c)e" {
			t.Fatalf("two at once: %s", got)
		}
		vg.settings.RecordHistory = false
		must(t, vg.Remove(c.gone...))
		want := c.want
		if c.name == "a descendant" {
			want = "c(b)f" // d had nothing else
		}
		if got := remembers(vg); got != want {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
		must(t, vg.Validate())
		reread(t, vg)
	}
	vg := pastVG(t, true)
	must(t, vg.Remove("c"))
	vg.Historical[0].Descendants = append(vg.Historical[0].Descendants, "nobody")
	if err := vg.Validate(); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("what is not there: %v", err)
	}
}

// A snapshot that takes its origin's place takes what came from it along.
func TestHistoryMerge(t *testing.T) {
	vg := pastVG(t, true)
	must(t, vg.Remove("c"))
	vg.ForgetMessages("pool")
	_, err := vg.MergeThin("b") // into a
	must(t, err)
	if got := remembers(vg); got != "c(a)d,f" {
		t.Errorf("%s", got)
	}
	must(t, vg.Validate())
	vg.stampHistory(time.Unix(1795403999, 0))
	if s := string(text(t, vg)); !strings.Contains(s, "historical_logical_volumes {") || !strings.Contains(s, "removal_time = 1795403999") || !strings.Contains(s, `descendants = ["d", "f"]`) {
		t.Error(s)
	}
}
