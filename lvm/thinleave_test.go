package lvm

import (
	"errors"
	"strings"
	"testing"
)

// That a pool stays active which was not is told.
func TestPoolThatCannotBeLeft(t *testing.T) {
	broken := errors.New("broken")
	for name, change := range map[string]func(*thinWorld) error{
		"make": func(w *thinWorld) error {
			_, err := w.CreateThins(t.Context(), "vg", []ThinSpec{{Pool: "pool", Name: "new", Size: extents(1)}}, ThinOptions{})
			return err
		},
		"cut": func(w *thinWorld) error { return w.Snapshot(t.Context(), cutOf("t1")) },
	} {
		w := freshThinWorld(t)
		_, _, err := w.CreateThinPool(t.Context(), "vg", ThinPoolSpec{Name: "pool", Size: extents(4)}, false)
		must(t, err)
		_, err = w.CreateThins(t.Context(), "vg", []ThinSpec{{Pool: "pool", Name: "t1", Size: extents(1)}}, ThinOptions{})
		must(t, err)
		w.Trace = func(step string) error {
			if strings.HasPrefix(step, "dm: remove") {
				return broken
			}
			return nil
		}
		if err := change(w); !errors.Is(err, broken) || !strings.Contains(err.Error(), "cannot be left") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
