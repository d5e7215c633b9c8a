package userspace_test

import (
	"fmt"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/dmtest"
)

func TestConformance(t *testing.T) {
	dmtest.Run(t, func(t *testing.T) dmtest.Lab {
		r := newRig(t)
		t.Cleanup(func() {
			if err := r.m.Close(); err != nil {
				t.Error(err)
			}
		})
		return dmtest.Lab{
			Control: r.m,
			Backing: func(t *testing.T, size dmcore.Sectors) dmcore.Dev {
				ref := dmcore.Dev(fmt.Sprintf("/dev/mem%d", len(r.files)))
				r.files[ref] = blockdev.NewMem(size.Bytes())
				return ref
			},
			Open: func(name dmcore.Name, readOnly bool) (blockdev.Device, error) {
				return r.m.Open(name, readOnly)
			},
			Queued: r.m.Queued,
		}
	})
}
