package kernel

import (
	"os"
	"testing"

	"cowhand/dmcore/dmtest"
	"cowhand/test/vm/inside"
)

// The conformance suite, with udev and without. Each part is a scenario, since a
// scenario has its time.

func TestKernelCommands(t *testing.T)   { long(t); dmtest.Commands(t, lab) }
func TestKernelInOut(t *testing.T)      { dmtest.InOut(t, lab) }
func TestKernelSuspension(t *testing.T) { long(t); dmtest.Suspension(t, lab) }
func TestKernelSnapshots(t *testing.T)  { long(t); unwatched(t); dmtest.Snapshots(t, lab) }
func TestKernelMerges(t *testing.T)     { long(t); unwatched(t); dmtest.Merges(t, lab) }
func TestKernelThin(t *testing.T)       { long(t); unwatched(t); dmtest.Thin(t, lab) }

func TestNoUdevKernelCommands(t *testing.T)   { dmtest.Commands(t, lab) }
func TestNoUdevKernelInOut(t *testing.T)      { dmtest.InOut(t, lab) }
func TestNoUdevKernelSuspension(t *testing.T) { dmtest.Suspension(t, lab) }
func TestNoUdevKernelSnapshots(t *testing.T)  { long(t); dmtest.Snapshots(t, lab) }
func TestNoUdevKernelMerges(t *testing.T)     { long(t); dmtest.Merges(t, lab) }

func TestNoUdevKernelThin(t *testing.T) { long(t); dmtest.Thin(t, lab) }

func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("long")
	}
}

// unwatched has udev not look at devices of the suite each time they are closed:
// without KVM most of the time would go there.
func unwatched(t *testing.T) {
	t.Helper()
	const rule = "/run/udev/rules.d/00-cowhand-dmtest.rules"
	if err := os.MkdirAll("/run/udev/rules.d", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(rule, []byte(`KERNEL=="dm-*", ATTR{dm/uuid}=="DMTEST-*", OPTIONS:="nowatch"`+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	inside.Run(t, "udevadm", "control", "--reload")
	t.Cleanup(func() {
		if err := os.Remove(rule); err != nil {
			t.Error(err)
		}
		inside.Run(t, "udevadm", "control", "--reload")
	})
}
