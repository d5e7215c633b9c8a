package cowstore

import "testing"

// What is pending against a map, however late some of it is committed.
func TestPendingModel(t *testing.T) {
	rng := seeded(t)
	var p pending
	want := map[uint64]mark{}
	var chunks []uint64
	next := uint64(2)
	for range 20000 {
		switch k := len(chunks); {
		case k == 0 || k < 300 && rng.IntN(2) == 0:
			next += 1 + rng.Uint64N(2)
			p.add(next)
			want[next] = allocated
			chunks = append(chunks, next)
		case rng.IntN(2) == 0:
			c := chunks[rng.IntN(k)]
			p.set(c, settled)
			want[c] = settled
		default:
			i := rng.IntN(min(k, 5))
			if rng.IntN(50) == 0 {
				i = rng.IntN(k)
			}
			p.set(chunks[i], none)
			delete(want, chunks[i])
			chunks = append(chunks[:i], chunks[i+1:]...)
		}
		if p.n != len(want) {
			t.Fatalf("%d pending, want %d", p.n, len(want))
		}
		for c := max(next, 600) - 600; c < next+3; c++ {
			if p.at(c) != want[c] {
				t.Fatalf("chunk %d: mark %d, want %d", c, p.at(c), want[c])
			}
		}
	}
}

func TestRepeated(t *testing.T) {
	for _, tt := range []struct {
		olds []uint64
		want uint64
		yes  bool
	}{
		{nil, 0, false},
		{[]uint64{1, 2, 9}, 0, false},
		{[]uint64{1, 9, 2}, 0, false},
		{[]uint64{1, 1}, 1, true},
		{[]uint64{7, 3, 5, 7}, 7, true},
	} {
		var ex []Exception
		for i, old := range tt.olds {
			ex = append(ex, Exception{old, uint64(i) + 2})
		}
		if old, yes := repeated(ex); old != tt.want || yes != tt.yes {
			t.Errorf("repeated(%v) = %d, %t", ex, old, yes)
		}
	}
}
