package dmcore_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
)

// The kernel leaves a blank behind a pool's count of features, and may be given
// none of them.
func TestThinPoolAsTheKernelPrintsIt(t *testing.T) {
	for _, text := range []string{
		"0 65536 thin-pool 253:4 253:5 128 0 0 ",
		"0 65536 thin-pool 253:4 253:5 128 0",
		"0 65536 thin-pool 253:4 253:5 128 0 0",
	} {
		got, err := dmcore.ParseTable(text)
		want := dmcore.Table{{0, 65536, dmcore.ThinPool{Metadata: "253:4", Data: "253:5", BlockSize: 128}}}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", text, err, diff)
		}
	}
	// lvm2 loads the last two features the other way round.
	got, err := dmcore.ParseTable("0 8 thin-pool a b 128 0 2 error_if_no_space read_only")
	if want := "0 8 thin-pool a b 128 0 2 read_only error_if_no_space"; err != nil || got.String() != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
}

func TestThinPoolStatus(t *testing.T) {
	ok := dmcore.ThinPoolStatus{TransactionID: 2, UsedMetadata: 121, TotalMetadata: 1024, UsedData: 3, TotalData: 512,
		Mode: dmcore.ThinPoolWritable, Discard: dmcore.DiscardPassdown, LowWater: 256}
	with := func(f func(*dmcore.ThinPoolStatus)) dmcore.ThinPoolStatus {
		s := ok
		f(&s)
		return s
	}
	for _, tt := range []struct {
		text string
		want dmcore.ThinPoolStatus
	}{
		{"2 121/1024 3/512 - rw discard_passdown queue_if_no_space - 256 ", ok},
		{"2 121/1024 3/512 66 ro no_discard_passdown error_if_no_space needs_check 256", with(func(s *dmcore.ThinPoolStatus) {
			s.HeldRoot, s.Mode, s.Discard = 66, dmcore.ThinPoolReadOnly, dmcore.DiscardNoPassdown
			s.ErrorIfNoSpace, s.NeedsCheck = true, true
		})},
		{"2 121/1024 512/512 - out_of_data_space ignore_discard queue_if_no_space - 256", with(func(s *dmcore.ThinPoolStatus) {
			s.UsedData, s.Mode, s.Discard = 512, dmcore.ThinPoolOutOfDataSpace, dmcore.DiscardIgnored
		})},
		{"2 121/1024 3/512 - rw discard_passdown queue_if_no_space", with(func(s *dmcore.ThinPoolStatus) { s.LowWater = 0 })},
		{"Fail", dmcore.ThinPoolStatus{State: dmcore.ThinFail}},
		{"Error", dmcore.ThinPoolStatus{State: dmcore.ThinError}},
	} {
		got, err := dmcore.ParseThinPoolStatus(tt.text)
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v\n%s", tt.text, err, diff)
		}
		if n := len(strings.Fields(tt.text)); n != 7 && got.String() != strings.TrimSpace(tt.text) {
			t.Errorf("%q prints as %q", tt.text, got)
		}
	}
	for _, bad := range []string{"", "2", "Failed", "2 121/1024 3/512 - rw discard_passdown", "x 1/2 3/4 - rw discard_passdown queue_if_no_space",
		"2 1/ 3/4 - rw discard_passdown queue_if_no_space", "2 1/2 3 - rw discard_passdown queue_if_no_space",
		"2 1/2 3/4 x rw discard_passdown queue_if_no_space", "2 1/2 3/4 - wo discard_passdown queue_if_no_space",
		"2 1/2 3/4 - rw discard queue_if_no_space", "2 1/2 3/4 - rw discard_passdown wait",
		"2 1/2 3/4 - rw discard_passdown queue_if_no_space x", "2 1/2 3/4 - rw discard_passdown queue_if_no_space - x",
		"2 1/2 3/4 - rw discard_passdown queue_if_no_space - 1 2"} {
		if s, err := dmcore.ParseThinPoolStatus(bad); !errors.Is(err, dmcore.ErrInvalid) {
			t.Errorf("%q parses as %+v, %v", bad, s, err)
		}
	}
}

func TestThinStatus(t *testing.T) {
	for text, want := range map[string]dmcore.ThinStatus{
		"0 -":        {},
		"-":          {},
		"2048 40959": {Mapped: 2048, Highest: 40959},
		"Fail":       {State: dmcore.ThinFail},
		"Error":      {State: dmcore.ThinError},
	} {
		got, err := dmcore.ParseThinStatus(text)
		if err != nil || got != want {
			t.Errorf("%q parses as %+v, %v; want %+v", text, got, err, want)
		}
		if text != "-" && got.String() != text {
			t.Errorf("%q prints as %q", text, got)
		}
	}
	for _, bad := range []string{"", "1", "1 2 3", "x 1", "1 x", "-1 2"} {
		if s, err := dmcore.ParseThinStatus(bad); !errors.Is(err, dmcore.ErrInvalid) {
			t.Errorf("%q parses as %+v, %v", bad, s, err)
		}
	}
}

// As lvm2 reckons: 0 and 100 are only what is exactly so.
func TestThinPercents(t *testing.T) {
	pool := dmcore.ThinPoolStatus{UsedMetadata: 256, TotalMetadata: 1024, UsedData: 512, TotalData: 512}
	if p, ok := pool.MetadataPercent(); p != 25 || !ok {
		t.Errorf("metadata: %v, %v", p, ok)
	}
	if p, ok := pool.DataPercent(); p != 100 || !ok {
		t.Errorf("data: %v, %v", p, ok)
	}
	if _, ok := (dmcore.ThinPoolStatus{State: dmcore.ThinFail}).DataPercent(); ok {
		t.Error("a failed pool knows how full it is")
	}
	huge := dmcore.ThinPoolStatus{UsedData: math.MaxUint64 - 1, TotalData: math.MaxUint64, UsedMetadata: 1, TotalMetadata: math.MaxUint64}
	if p, _ := huge.DataPercent(); p >= 100 {
		t.Errorf("not full, but %v%%", p)
	}
	if p, _ := huge.MetadataPercent(); p <= 0 {
		t.Errorf("not empty, but %v%%", p)
	}
	for _, tt := range []struct {
		mapped, size, block dmcore.Sectors
		want                float64
	}{
		{0, 1000, 128, 0},
		{512, 1000, 128, 50},   // of 1024
		{1024, 1000, 128, 100}, // the last block reaches beyond the end
		{4096, 1000, 128, 100},
		{0, 0, 128, 100},
	} {
		if p, ok := (dmcore.ThinStatus{Mapped: tt.mapped}).Percent(tt.size, tt.block); p != tt.want || !ok {
			t.Errorf("%d of %d: %v%%, %v; want %v", tt.mapped, tt.size, p, ok, tt.want)
		}
	}
	if _, ok := (dmcore.ThinStatus{State: dmcore.ThinFail}).Percent(8, 8); ok {
		t.Error("a failed device knows how full it is")
	}
}

func FuzzThinStatus(f *testing.F) {
	f.Add("2 121/1024 3/512 - rw discard_passdown queue_if_no_space - 256 ")
	f.Add("Fail")
	f.Add("2048 40959")
	f.Add("0 -")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := dmcore.ParseThinPoolStatus(text); err == nil {
			if again, err := dmcore.ParseThinPoolStatus(s.String()); err != nil || again != s {
				t.Errorf("%q: %+v came back as %+v, %v", text, s, again, err)
			}
		}
		if s, err := dmcore.ParseThinStatus(text); err == nil {
			if again, err := dmcore.ParseThinStatus(s.String()); err != nil || again != s {
				t.Errorf("%q: %+v came back as %+v, %v", text, s, again, err)
			}
		}
	})
}

// thinPool answers as a device mapper with one pool does.
func thinPool(sent *[]string) *dmcore.Client {
	return dmcore.NewClient(dmcore.ControlFunc(func(_ context.Context, cmd dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
		switch cmd {
		case dmcore.TargetStatusOf:
			if !r.NoFlush {
				return nil, errors.New("a status that commits would wait for a pool that is full")
			}
			s := dmcore.TargetStatus{Type: "thin-pool", Params: "2 1/2 3/4 - rw discard_passdown queue_if_no_space - 1 "}
			if r.UUID == "thin" {
				s = dmcore.TargetStatus{Type: "thin", Params: "128 127"}
			}
			return &dmcore.Reply{Targets: []dmcore.TargetStatus{s}}, nil
		case dmcore.Message:
			*sent = append(*sent, r.Text)
			if strings.HasPrefix(r.Text, "delete") {
				return nil, &dmcore.Error{Cmd: cmd, Name: "pool", Err: dmcore.ErrBusy}
			}
			return &dmcore.Reply{}, nil
		}
		return nil, dmcore.ErrNotSupported
	}))
}

func TestThinClient(t *testing.T) {
	var sent []string
	c := thinPool(&sent)
	if s, err := c.ThinPoolStatus(t.Context(), "pool"); err != nil || s.TransactionID != 2 {
		t.Errorf("pool: %+v, %v", s, err)
	}
	if s, err := c.ThinStatus(t.Context(), "thin"); err != nil || s.Mapped != 128 {
		t.Errorf("thin: %+v, %v", s, err)
	}
	if _, err := c.ThinStatus(t.Context(), "pool"); !errors.Is(err, dmcore.ErrInvalid) {
		t.Errorf("the pool is no thin device: %v", err)
	}
	if _, err := c.ThinPoolStatus(t.Context(), "thin"); !errors.Is(err, dmcore.ErrInvalid) {
		t.Errorf("the thin device is no pool: %v", err)
	}
	err := c.SendThin(t.Context(), "pool", dmcore.CreateThin(1), dmcore.CreateThinSnapshot(2, 1), dmcore.DeleteThin(3), dmcore.SetTransactionID(1, 2))
	if !errors.Is(err, dmcore.ErrBusy) || !strings.Contains(err.Error(), `"delete 3"`) {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"create_thin 1", "create_snap 2 1", "delete 3"}, sent); diff != "" {
		t.Error(diff)
	}
	if got, want := dmcore.SetTransactionID(1, 2), dmcore.ThinMessage("set_transaction_id 1 2"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
