package vm

import (
	"errors"
	"testing"
)

// What was flushed is there after a power cut; what ran is gone.
func TestPowerCut(t *testing.T) {
	m := Boot(t, Config{Disks: []Disk{{MiB: 64}}})
	m.Must("sh", "-c", "echo kept | dd of=/dev/vda conv=fsync")
	p, err := m.Go("sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context()); !errors.Is(err, ErrGone) {
		t.Errorf("a command when the power was cut: %v, want %v", err, ErrGone)
	}
	if _, err := m.Run(t.Context(), "true"); !errors.Is(err, ErrGone) {
		t.Errorf("a command when it is off: %v, want %v", err, ErrGone)
	}
	if err := m.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, want := m.Must("head", "-n1", "/dev/vda"), "kept\n"; got != want {
		t.Errorf("flushed before the cut: %q, want %q", got, want)
	}
}
