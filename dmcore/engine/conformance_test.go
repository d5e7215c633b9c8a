package engine

import (
	"context"
	"fmt"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/dmtest"
	"cowhand/dmcore/userspace"
)

// The machine behind a control socket is a Control like any other, and what the
// host notes beside it changes nothing.
func TestConformance(t *testing.T) {
	dmtest.Run(t, func(t *testing.T) dmtest.Lab {
		disks := map[dmcore.Dev]blockdev.Device{}
		m := userspaceMachine{userspace.New(func(ref dmcore.Dev) (blockdev.Device, error) {
			d, ok := disks[ref]
			if !ok {
				return nil, fmt.Errorf("%s: %w", ref, dmcore.ErrNotFound)
			}
			return d, nil
		})}
		dir := shortDir(t)
		control, err := listen(dir, controlName, -1)
		if err != nil {
			t.Fatal(err)
		}
		cfg := Config{}.withDefaults()
		ctx, stop := context.WithCancel(context.Background())
		s := &server{cfg: cfg, control: control, stop: stop,
			host: newHost(m, cfg, nil)} // with no memory: that is tested elsewhere
		ended := make(chan error)
		go func() { ended <- s.accept(ctx) }()
		t.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
		return dmtest.Lab{
			Control: dial(t, dir),
			Backing: func(t *testing.T, size dmcore.Sectors) dmcore.Dev {
				ref := dmcore.Dev(fmt.Sprintf("/dev/mem%d", len(disks)))
				disks[ref] = blockdev.NewMem(size.Bytes())
				return ref
			},
			Open: func(name dmcore.Name, readOnly bool) (blockdev.Device, error) {
				return s.host.open(context.Background(), name, readOnly)
			},
			Queued: m.Queued,
		}
	})
}
