package userspace_test

import (
	"errors"
	"strings"
	"testing"

	"cowhand/dmcore"
)

// Thin pools are the kernel's: a table with one is refused, and said to be.
func TestThinIsRefused(t *testing.T) {
	r := newRig(t)
	if _, err := r.c.Create(t.Context(), "pool", "pool"); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"0 8 thin-pool 8:0 8:1 128 0 0", "0 8 thin 8:0 1"} {
		table, err := dmcore.ParseTable(text)
		if err != nil {
			t.Fatal(err)
		}
		err = r.c.Load(t.Context(), "pool", table, false)
		if !errors.Is(err, dmcore.ErrNotSupported) || !strings.Contains(err.Error(), "not served in user space") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
