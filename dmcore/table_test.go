package dmcore_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cowhand/dmcore"
)

var everyTarget = dmcore.Table{
	{0, 8, dmcore.Linear{"253:3", 2048}},
	{8, 64, dmcore.Striped{16, []dmcore.Linear{{"8:0", 0}, {"/dev/disk/by-id/a b", 32}}}},
	{72, 1, dmcore.Zero{}},
	{73, 7, dmcore.Failing{}},
	{80, 100, dmcore.SnapshotOrigin{"0:1"}},
	{180, 100, dmcore.Snapshot{"0:1", "0:2", 8}},
	{280, 100, dmcore.SnapshotMerge{"0:1", "@LVM-x", 1024}},
	{380, 100, dmcore.ThinPool{"253:4", "253:5", 128, 0, dmcore.ThinPoolFeatures{}}},
	{480, 100, dmcore.ThinPool{"253:4", "253:5", 384, 7, dmcore.ThinPoolFeatures{true, true, true, true, true}}},
	{580, 100, dmcore.Thin{"253:6", 1, ""}},
	{680, 100, dmcore.Thin{"253:6", 1<<24 - 1, "253:7"}},
}

const everyTargetText = `0 8 linear 253:3 2048
8 64 striped 2 16 8:0 0 /dev/disk/by-id/a\ b 32
72 1 zero
73 7 error
80 100 snapshot-origin 0:1
180 100 snapshot 0:1 0:2 P 8
280 100 snapshot-merge 0:1 @LVM-x P 1024
380 100 thin-pool 253:4 253:5 128 0 0
480 100 thin-pool 253:4 253:5 384 7 5 skip_block_zeroing ignore_discard no_discard_passdown read_only error_if_no_space
580 100 thin 253:6 1
680 100 thin 253:6 16777215 253:7`

func TestTablePrintAndParse(t *testing.T) {
	if got := everyTarget.String(); got != everyTargetText {
		t.Errorf("printed\n%s\nwant\n%s", got, everyTargetText)
	}
	got, err := dmcore.ParseTable(everyTargetText + "\n\n")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(everyTarget, got); diff != "" {
		t.Errorf("parsed (-want +got):\n%s", diff)
	}
	if !got.Equal(everyTarget) || got.Len() != 780 {
		t.Errorf("length %d, want 780 and equal tables", got.Len())
	}
	want := []dmcore.Dev{"253:3", "8:0", "/dev/disk/by-id/a b", "0:1", "0:2", "@LVM-x", "253:4", "253:5", "253:6", "253:7"}
	if diff := cmp.Diff(want, got.Devs()); diff != "" {
		t.Errorf("devices (-want +got):\n%s", diff)
	}
}

func TestTableInJSON(t *testing.T) {
	b, err := json.Marshal(dmcore.Request{Table: everyTarget, UUID: "u"})
	if err != nil {
		t.Fatal(err)
	}
	var r dmcore.Request
	if err := json.Unmarshal(b, &r); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(everyTarget, r.Table); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseTableRefuses(t *testing.T) {
	for text, want := range map[string]error{
		"0":                             dmcore.ErrInvalid,
		"0 8":                           dmcore.ErrInvalid,
		"x 8 zero":                      dmcore.ErrInvalid,
		"0 -8 zero":                     dmcore.ErrInvalid,
		"0 99999999999999999 zero":      dmcore.ErrInvalid,
		"0 0 zero":                      dmcore.ErrInvalid,
		"1 8 zero":                      dmcore.ErrInvalid,
		"0 8 zero\n16 8 zero":           dmcore.ErrInvalid, // a gap
		"0 8 zero\n4 8 zero":            dmcore.ErrInvalid, // an overlap
		"0 8 zero 1":                    dmcore.ErrInvalid,
		"0 8 linear 8:0":                dmcore.ErrInvalid,
		"0 8 linear 8:0 x":              dmcore.ErrInvalid,
		"0 8 striped 2 8 8:0 0":         dmcore.ErrInvalid,
		"0 8 striped 0 8":               dmcore.ErrInvalid,
		"0 8 snapshot 8:0 8:1 N 8":      dmcore.ErrInvalid, // no transient stores
		"0 8 snapshot-origin":           dmcore.ErrInvalid,
		"0 8 thick 8:0":                 dmcore.ErrNotSupported,
		"0 8 thin-pool 8:0":             dmcore.ErrInvalid,
		"0 8 thin-pool 8:0 8:1 a 0":     dmcore.ErrInvalid,
		"0 8 thin-pool 8:0 8:1 128 a":   dmcore.ErrInvalid,
		"0 8 thin-pool 8:0 8:1 128 0 1": dmcore.ErrInvalid,
		"0 8 thin-pool 8:0 8:1 128 0 0 read_only": dmcore.ErrInvalid,
		"0 8 thin-pool 8:0 8:1 128 0 1 fly":       dmcore.ErrInvalid,
		"0 8 thin 8:0":                            dmcore.ErrInvalid,
		"0 8 thin 8:0 16777216":                   dmcore.ErrInvalid,
		"0 8 thin 8:0 -1":                         dmcore.ErrInvalid,
		"0 8 thin 8:0 1 8:1 x":                    dmcore.ErrInvalid,
	} {
		if got, err := dmcore.ParseTable(text); !errors.Is(err, want) {
			t.Errorf("%q: table %v, error %v, want %v", text, got, err, want)
		}
	}
	if err := (dmcore.Table{{0, 8, nil}}).Validate(); !errors.Is(err, dmcore.ErrInvalid) {
		t.Errorf("a segment without a target: %v", err)
	}
}

func TestTableResolve(t *testing.T) {
	got, err := everyTarget.Resolve(func(d dmcore.Dev) (dmcore.Dev, error) { return "<" + d + ">", nil })
	if err != nil {
		t.Fatal(err)
	}
	want := `0 8 linear <253:3> 2048
8 64 striped 2 16 <8:0> 0 </dev/disk/by-id/a\ b> 32
72 1 zero
73 7 error
80 100 snapshot-origin <0:1>
180 100 snapshot <0:1> <0:2> P 8
280 100 snapshot-merge <0:1> <@LVM-x> P 1024
380 100 thin-pool <253:4> <253:5> 128 0 0
480 100 thin-pool <253:4> <253:5> 384 7 5 skip_block_zeroing ignore_discard no_discard_passdown read_only error_if_no_space
580 100 thin <253:6> 1
680 100 thin <253:6> 16777215 <253:7>`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if everyTarget.String() != everyTargetText {
		t.Error("Resolve changed its table")
	}
	for _, bad := range everyTarget.Devs() {
		_, err := everyTarget.Resolve(func(d dmcore.Dev) (dmcore.Dev, error) {
			if d == bad {
				return "", fmt.Errorf("%s: %w", d, dmcore.ErrNotFound)
			}
			return d, nil
		})
		if !errors.Is(err, dmcore.ErrNotFound) {
			t.Errorf("%s cannot be resolved: error %v", bad, err)
		}
	}
}

// FuzzTable: whatever parses prints as something that parses alike.
func FuzzTable(f *testing.F) {
	f.Add(everyTargetText)
	f.Add("0 8 linear \\  0")
	f.Add("0 8 thin-pool a b 128 0 \n8 8 thin c 1")
	f.Add("0 8 linear a\\\\b 0\n8 8 zero")
	f.Fuzz(func(t *testing.T, text string) {
		table, err := dmcore.ParseTable(text)
		if err != nil || len(table) == 0 {
			return
		}
		again, err := dmcore.ParseTable(table.String())
		if err != nil {
			t.Fatalf("%q prints as %q, which does not parse: %v", text, table, err)
		}
		if diff := cmp.Diff(table, again); diff != "" {
			t.Errorf("%q prints as %q (-first +again):\n%s", text, table, diff)
		}
	})
}
