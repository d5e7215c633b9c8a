package cowstore

import "testing"

// The index against a map, through growth and removal.
func TestIndexModel(t *testing.T) {
	rng := seeded(t)
	x := newIndex()
	var list []Exception
	want := map[uint64]uint64{}
	for round := range 40 {
		if round%4 == 3 {
			for range rng.IntN(len(list) + 1) {
				delete(want, list[len(list)-1].Old)
				list = list[:len(list)-1]
				x.drop()
			}
		}
		for range rng.IntN(3000) {
			e := Exception{rng.Uint64N(20000), rng.Uint64()}
			_, dup := want[e.Old]
			if x.add(e) == dup {
				t.Fatalf("add(%v) = %t", e, !dup)
			}
			if !dup {
				list, want[e.Old] = append(list, e), e.New
			}
		}
		if x.n != uint64(len(list)) {
			t.Fatalf("%d in the list, want %d", x.n, len(list))
		}
		for old := range uint64(20000) {
			new, ok := x.get(old)
			if w, has := want[old]; ok != has || new != w {
				t.Fatalf("get(%d) = %d, %t; want %d, %t", old, new, ok, w, has)
			}
		}
	}
}
