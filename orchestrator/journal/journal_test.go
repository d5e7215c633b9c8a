package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type plan struct{ Workflow string }

// write makes a run with three records and returns its bytes and line starts.
func write(t *testing.T) (*Dir, string, []byte) {
	t.Helper()
	d, err := Open(filepath.Join(t.TempDir(), "runs"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Begin("run1", plan{"try"})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range []Record{{Kind: Doing, Step: 0}, {Kind: Done, Step: 0}} {
		if err := r.Append(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(d.file("run1"))
	if err != nil {
		t.Fatal(err)
	}
	return d, d.file("run1"), b
}

func kinds(recs []Record) (ks []Kind) {
	for _, r := range recs {
		ks = append(ks, r.Kind)
	}
	return ks
}

// A journal cut anywhere yields the records whose lines are whole, and goes on
// from there.
func TestTornTail(t *testing.T) {
	_, _, whole := write(t)
	for n := 0; n <= len(whole); n++ {
		recs, size, err := Parse(whole[:n])
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		want := 0
		for _, c := range whole[:n] {
			if c == '\n' {
				want++
			}
		}
		if len(recs) != want || size > n {
			t.Fatalf("cut at %d: %d records of %d bytes, want %d", n, len(recs), size, want)
		}
	}
}

func TestDamage(t *testing.T) {
	_, _, whole := write(t)
	for i := range whole {
		bad := append([]byte(nil), whole...)
		bad[i] ^= 0x04
		recs, _, err := Parse(bad)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("flip at %d: %v", i, err)
		}
		if err == nil && len(recs) == 3 {
			t.Fatalf("flip at %d went unseen", i)
		}
	}
}

func TestTakeContinues(t *testing.T) {
	d, file, whole := write(t)
	if err := os.WriteFile(file, append(whole, `{"crc":"00`...), 0o600); err != nil {
		t.Fatal(err)
	}
	r, recs, err := d.Take("run1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Kind{Begin, Doing, Done}, kinds(recs)); diff != "" {
		t.Fatal(diff)
	}
	if _, _, err := d.Take("run1"); !errors.Is(err, ErrRunning) {
		t.Fatalf("taken twice: %v", err)
	}
	if err := r.End("done"); err != nil {
		t.Fatal(err)
	}
	if ids, err := d.Unfinished(); err != nil || len(ids) != 0 {
		t.Fatalf("unfinished %v, %v", ids, err)
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(file), "done", "run1.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	recs, _, err = Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Kind{Begin, Doing, Done, End}, kinds(recs)); diff != "" {
		t.Fatal(diff)
	}
}

func FuzzParse(f *testing.F) {
	r, _ := Record{Seq: 1, Kind: Begin}.marshal()
	f.Add(r)
	f.Add([]byte("{}\n{}\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		recs, size, err := Parse(b)
		if size > len(b) || (err == nil && len(recs) == 0 && size != 0) {
			t.Fatalf("%d records in %d of %d bytes", len(recs), size, len(b))
		}
	})
}
