package dmcore_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"cowhand/dmcore"
)

func TestSnapshotStatus(t *testing.T) {
	for _, c := range []struct {
		text    string
		want    dmcore.SnapshotStatus
		merged  bool
		percent float64
	}{
		{"16/16384 16", dmcore.SnapshotStatus{Allocated: 16, Total: 16384, Metadata: 16}, true, 0},
		{"4096/16384 16", dmcore.SnapshotStatus{Allocated: 4096, Total: 16384, Metadata: 16}, false, 25},
		{"64/64 16", dmcore.SnapshotStatus{Allocated: 64, Total: 64, Metadata: 16}, false, 100},
		{"Invalid", dmcore.SnapshotStatus{State: dmcore.SnapshotInvalid}, false, 100},
		{"Merge failed", dmcore.SnapshotStatus{State: dmcore.MergeFailed}, false, 100},
		{"Overflow", dmcore.SnapshotStatus{State: dmcore.SnapshotOverflow}, false, 100},
	} {
		got, err := dmcore.ParseSnapshotStatus(c.text)
		if err != nil || got != c.want {
			t.Errorf("%q parses as %+v, %v; want %+v", c.text, got, err, c.want)
		}
		if got.String() != c.text || got.Merged() != c.merged || got.Percent() != c.percent {
			t.Errorf("%q prints as %q, merged %v, %v%%; want %v, %v%%", c.text, got, got.Merged(), got.Percent(), c.merged, c.percent)
		}
	}
	for _, bad := range []string{"", "16", "16/16", "a/b c", "Unknown"} {
		if s, err := dmcore.ParseSnapshotStatus(bad); !errors.Is(err, dmcore.ErrInvalid) {
			t.Errorf("%q parses as %+v, %v", bad, s, err)
		}
	}
}

func FuzzSnapshotStatus(f *testing.F) {
	f.Add("16/16384 16")
	f.Add("Merge failed")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := dmcore.ParseSnapshotStatus(text)
		if err != nil {
			return
		}
		if again, err := dmcore.ParseSnapshotStatus(s.String()); err != nil || again != s {
			t.Errorf("%q: %+v came back as %+v, %v", text, s, again, err)
		}
	})
}

func TestCommandNames(t *testing.T) {
	for c := dmcore.Version; c <= dmcore.Wait; c++ {
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		var got dmcore.Command
		if err := json.Unmarshal(b, &got); err != nil || got != c {
			t.Errorf("%v is %s in JSON and comes back as %v, %v", c, b, got, err)
		}
	}
	var c dmcore.Command
	if err := json.Unmarshal([]byte(`"frobnicate"`), &c); !errors.Is(err, dmcore.ErrNotSupported) {
		t.Errorf("unknown command: %v", err)
	}
}

func TestError(t *testing.T) {
	err := error(&dmcore.Error{Cmd: dmcore.Remove, Name: "vg-root", Err: dmcore.ErrBusy})
	if got, want := err.Error(), "device vg-root: remove: device is in use"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if !errors.Is(err, dmcore.ErrBusy) {
		t.Error("the sentinel is not found")
	}
	if got, want := (&dmcore.Error{Cmd: dmcore.List, Err: dmcore.ErrUnavailable}).Error(),
		"device mapper: list: no device mapper can be reached"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestClientFinds: that there is no such device is no error of Find, and any
// other error is.
func TestClientFinds(t *testing.T) {
	answer := error(dmcore.ErrNotFound)
	c := dmcore.NewClient(dmcore.ControlFunc(func(context.Context, dmcore.Command, *dmcore.Request) (*dmcore.Reply, error) {
		return nil, &dmcore.Error{Cmd: dmcore.Status, Err: answer}
	}))
	if _, ok, err := c.Find(t.Context(), "u"); ok || err != nil {
		t.Errorf("find: %v, %v", ok, err)
	}
	answer = dmcore.ErrUnavailable
	if _, ok, err := c.Find(t.Context(), "u"); ok || !errors.Is(err, dmcore.ErrUnavailable) {
		t.Errorf("find: %v, %v; want %v", ok, err, dmcore.ErrUnavailable)
	}
}
