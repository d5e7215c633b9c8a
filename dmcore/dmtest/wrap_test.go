package dmtest_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/dmtest"
	"cowhand/dmcore/userspace"
)

func machine() *userspace.Machine {
	return userspace.New(func(dmcore.Dev) (blockdev.Device, error) { return nil, fs.ErrNotExist })
}

// work is five commands that change something and queries between them.
func work(t *testing.T, ctl dmcore.Control) error {
	c, ctx := dmcore.NewClient(ctl), t.Context()
	_, err := c.Create(ctx, "a", "A")
	if err == nil {
		_, err = c.List(ctx)
	}
	if err == nil {
		err = c.Load(ctx, "A", dmcore.Table{{Start: 0, Length: 8, Target: dmcore.Zero{}}, {Start: 8, Length: 8, Target: dmcore.Failing{}}}, true)
	}
	if err == nil {
		_, err = c.Resume(ctx, "A")
	}
	if err == nil {
		_, err = c.Info(ctx, "a")
	}
	if err == nil {
		err = c.Rename(ctx, "A", "b")
	}
	if err == nil {
		err = c.Remove(ctx, "A")
	}
	return err
}

func TestTrace(t *testing.T) {
	var got strings.Builder
	ctl := dmtest.Trace(machine(), &got)
	if err := work(t, ctl); err != nil {
		t.Fatal(err)
	}
	if err := dmcore.NewClient(ctl).Remove(t.Context(), "A"); err == nil {
		t.Fatal("removed twice")
	}
	want := `create A a
load A read-only [0 8 zero; 8 8 error]
resume A
rename A to b
remove A
remove A = device A: remove: no such device
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFailAtAndStopAt(t *testing.T) {
	fault := errors.New("a fault")
	for n := 1; n <= 5; n++ {
		var trace strings.Builder
		below := dmtest.Trace(machine(), &trace)
		failing := dmtest.FailAt(below, n, fault)
		if err := work(t, failing); !errors.Is(err, fault) {
			t.Errorf("fail at %d: error %v", n, err)
		}
		if got := strings.Count(trace.String(), "\n"); got != n-1 {
			t.Errorf("fail at %d: %d commands were carried out before", n, got)
		}
		if _, err := dmcore.NewClient(failing).List(t.Context()); err != nil {
			t.Errorf("fail at %d: afterwards %v", n, err)
		}

		trace.Reset()
		stopped := dmtest.StopAt(dmtest.Trace(machine(), &trace), n)
		if err := work(t, stopped); !errors.Is(err, dmtest.ErrStopped) {
			t.Errorf("stop at %d: error %v", n, err)
		}
		if got := strings.Count(trace.String(), "\n"); got != n-1 {
			t.Errorf("stop at %d: %d commands were carried out before", n, got)
		}
		if _, err := dmcore.NewClient(stopped).List(t.Context()); !errors.Is(err, dmtest.ErrStopped) {
			t.Errorf("stop at %d: afterwards %v, want %v", n, err, dmtest.ErrStopped)
		}
	}
	if err := work(t, dmtest.StopAt(dmtest.FailAt(machine(), 6, fault), 6)); err != nil {
		t.Errorf("nothing to fail: %v", err)
	}
}
