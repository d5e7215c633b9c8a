package blockdev

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// While holes come and go under the question, the answer still is in sectors:
// devices above take nothing else.
func TestExtentsOfChangingFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	const size = 64 << 10
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OpenFile(path, false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var stop atomic.Bool
	changed := make(chan error, 1)
	go func() {
		p := make([]byte, size)
		for !stop.Load() {
			if _, err := d.WriteAt(p, 0); err != nil {
				changed <- err
				return
			}
			if err := d.Discard(0, size); err != nil {
				changed <- err
				return
			}
		}
		changed <- nil
	}()
	for range 20000 {
		extents, err := d.Extents(0, size)
		if err != nil {
			t.Error(err)
			break
		}
		for _, e := range extents {
			if e.Length <= 0 || e.Length%512 != 0 {
				t.Fatalf("extents %v", extents)
			}
		}
	}
	stop.Store(true)
	if err := <-changed; err != nil {
		t.Skip("holes cannot be punched here: ", err)
	}
}
