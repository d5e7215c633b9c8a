package lvm

import (
	"errors"
	"strings"
	"testing"
)

// The beginning of a new volume is zeroed, unless that is not wished or the host maps
// it read-only; and without that it may be one that the host does not activate.
func TestCreateZeroes(t *testing.T) {
	for _, c := range []struct {
		name           string
		lists          Lists
		keep           bool
		zeroed, active bool
		err            error
	}{
		{"usual", Lists{}, false, true, true, nil},
		{"not wished", Lists{}, true, false, true, nil},
		{"read-only here", Lists{ReadOnly: []string{"vg/new"}}, false, false, true, nil},
		{"not here", Lists{Volumes: []string{"other"}}, false, false, false, ErrExcluded},
		{"not here, and not wished", Lists{Volumes: []string{"other"}}, true, false, false, nil},
	} {
		w := freshThinWorld(t)
		w.Store.Lists = c.lists
		zeroed := false
		w.Trace = func(step string) error {
			zeroed = zeroed || strings.HasPrefix(step, "vg/new: zero 8")
			return nil
		}
		_, err := w.Create(t.Context(), "vg", StripedSpec{LinearSpec: LinearSpec{Name: "new", Size: extents(1), NoZero: c.keep}}, true)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
		if zeroed != c.zeroed || len(w.devs) > 0 != c.active {
			t.Errorf("%s: zeroed %t, devices %v", c.name, zeroed, w.devs)
		}
	}
}
