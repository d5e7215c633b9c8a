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
		for left := rng.IntN(3000); left > 0; {
			e := Exception{rng.Uint64N(20000), rng.Uint64N(1 << 40)}
			if rng.IntN(2) == 0 {
				e.Old = e.Old / 64 * 64 // what is aligned shares a place in its group
			}
			for range 1 + rng.IntN(2)*rng.IntN(100) { // one, or some that follow one another
				_, dup := want[e.Old]
				if x.add(e) == dup {
					t.Fatalf("add(%v) = %t", e, !dup)
				}
				if !dup {
					list, want[e.Old] = append(list, e), e.New
				}
				e.Old, e.New = e.Old+1, e.New+1
				left--
			}
		}
		if x.n != uint64(len(list)) {
			t.Fatalf("%d in the list, want %d", x.n, len(list))
		}
		for old := range uint64(20100) {
			new, ok := x.get(old)
			if w, has := want[old]; ok != has || new != w {
				t.Fatalf("get(%d) = %d, %t; want %d, %t", old, new, ok, w, has)
			}
		}
		for old := uint64(0); old < 20000; {
			most := 1 + rng.Uint64N(200)
			new, n, ok := x.run(old, most)
			w, has := want[old]
			if n < 1 || n > most || ok != has || new != w {
				t.Fatalf("run(%d, %d) = %d, %d, %t; want %d, %t", old, most, new, n, ok, w, has)
			}
			for k := range most {
				next, has := want[old+k]
				if alike := has == ok && (!ok || next == new+k); alike != (k < n) {
					t.Fatalf("run(%d, %d) has %d chunks, and that of %d is alike: %t", old, most, n, old+k, alike)
				}
				if k == n {
					break
				}
			}
			old += n
		}
	}
}
