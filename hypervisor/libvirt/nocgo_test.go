//go:build !cgo

package libvirt

import (
	"errors"
	"testing"

	"cowhand/hypervisor"
)

func TestWithoutCgoThereIsNoHypervisor(t *testing.T) {
	if _, err := Open(t.Context(), "qemu:///system"); !errors.Is(err, hypervisor.ErrUnavailable) {
		t.Errorf("open: %v", err)
	}
}
