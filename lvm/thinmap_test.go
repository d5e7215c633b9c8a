package lvm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"cowhand/dmcore"

	"github.com/google/go-cmp/cmp"
)

// show prints activations: name, the suffix of the UUID, the table with names.
func show(t testing.TB, list []Activation) string {
	t.Helper()
	names := map[dmcore.Dev]dmcore.Dev{}
	for _, a := range list {
		names[a.UUID.Dev()] = dmcore.Dev(a.Name)
	}
	var b strings.Builder
	for _, a := range list {
		table, err := a.Table.Resolve(func(d dmcore.Dev) (dmcore.Dev, error) {
			if _, ok := d.UUID(); !ok {
				return d, nil
			}
			name, ok := names[d]
			if !ok {
				return "", fmt.Errorf("%s stands on %s, which does not come before it", a.Name, d)
			}
			return name, nil
		})
		must(t, err)
		ro := ""
		if a.ReadOnly {
			ro = " read-only"
		}
		fmt.Fprintf(&b, "%s -%s%s: %s\n", a.Name, layerOf(a.UUID), ro, table)
	}
	return b.String()
}

const (
	poolBelow = "vg-pool_tmeta -tmeta: 0 8192 linear /dev/vdb 51200\n" +
		"vg-pool_tdata -tdata: 0 65536 linear /dev/vdb 59392\n" +
		"vg-pool-tpool -tpool: 0 65536 thin-pool vg-pool_tmeta vg-pool_tdata 128 0 0\n"
	baseBelow = "vg-base-real -real read-only: 0 16384 linear /dev/vdb 34816\n"
)

func TestThinActivations(t *testing.T) {
	for _, tt := range []struct {
		name, lv, want string
		change         func(*VG)
		o              ActivateOptions
	}{
		{name: "a thin volume and its pool, whose own device is not needed", lv: "t1",
			want: poolBelow + "vg-t1 -: 0 40960 thin vg-pool-tpool 1\n"},
		{name: "a thin snapshot stands beside its origin", lv: "ts1",
			want: poolBelow + "vg-ts1 -: 0 40960 thin vg-pool-tpool 2\n"},
		{name: "the pool: read-only, over what volumes stand on", lv: "pool",
			want: poolBelow + "vg-pool -pool read-only: 0 65536 linear vg-pool-tpool 0\n"},
		{name: "a pool in which nothing was ever made has no layer, but the UUID of one", lv: "new",
			want: "vg-new_tmeta -tmeta: 0 8192 linear /dev/vdb 124928\n" +
				"vg-new_tdata -tdata: 0 65536 linear /dev/vdb 133120\n" +
				"vg-new -tpool: 0 65536 thin-pool vg-new_tmeta vg-new_tdata 128 0 0\n"},
		{name: "an external origin is below, never itself", lv: "text",
			want: baseBelow + poolBelow + "vg-text -: 0 24576 thin vg-pool-tpool 3 vg-base-real\n"},
		{name: "an external origin alone", lv: "base",
			want: baseBelow + "vg-base - read-only: 0 16384 linear vg-base-real 0\n"},
		{name: "an external origin that says it is writable", lv: "base",
			change: func(vg *VG) { vg.LV("base").setStatus(statusWrite, true) },
			want:   baseBelow + "vg-base - read-only: 0 16384 linear vg-base-real 0\n"},
		{name: "an external origin with a thick snapshot", lv: "base",
			change: func(vg *VG) { vg.LV("snapshot0").Segments[0].Origin = "base" },
			want: baseBelow + "vg-cow-cow -cow: 0 8192 linear /dev/vdb 206848\n" +
				"vg-cow -: 0 16384 snapshot vg-base-real vg-cow-cow P 8\n" +
				"vg-base - read-only: 0 16384 snapshot-origin vg-base-real\n"},
		{name: "a thin volume as an external origin, of the same pool", lv: "text",
			change: func(vg *VG) { vg.LV("text").Thin().ExternalOrigin = "t1" },
			want: poolBelow + "vg-t1-real -real read-only: 0 40960 thin vg-pool-tpool 1\n" +
				"vg-text -: 0 24576 thin vg-pool-tpool 3 vg-t1-real\n"},
		{name: "a thick snapshot of a thin volume", lv: "cow",
			want: poolBelow + "vg-thick-real -real: 0 16384 thin vg-pool-tpool 4\n" +
				"vg-cow-cow -cow: 0 8192 linear /dev/vdb 206848\n" +
				"vg-cow -: 0 16384 snapshot vg-thick-real vg-cow-cow P 8\n" +
				"vg-thick -: 0 16384 snapshot-origin vg-thick-real\n"},
		{name: "a thick snapshot that is merged into a thin volume", lv: "thick",
			change: func(vg *VG) { must(t, vg.setMerging("snapshot0")) },
			want: poolBelow + "vg-thick-real -real: 0 16384 thin vg-pool-tpool 4\n" +
				"vg-cow-cow -cow: 0 8192 linear /dev/vdb 206848\n" +
				"vg-thick -: 0 16384 snapshot-merge vg-thick-real vg-cow-cow P 8\n" +
				"vg-cow -: 0 16384 error\n"},
		{name: "a read-only thin volume", lv: "t1",
			change: func(vg *VG) { vg.LV("t1").setStatus(statusWrite, false) },
			want:   poolBelow + "vg-t1 - read-only: 0 40960 thin vg-pool-tpool 1\n"},
		{name: "what a pool does with zeroes, discards and lack of space", lv: "new",
			change: func(vg *VG) {
				vg.LV("new").Flags = []string{flagErrorWhenFull}
				p := vg.LV("new").ThinPool()
				p.Zero, p.Discards = false, DiscardsNoPassdown
			},
			want: "vg-new_tmeta -tmeta: 0 8192 linear /dev/vdb 124928\n" +
				"vg-new_tdata -tdata: 0 65536 linear /dev/vdb 133120\n" +
				"vg-new -tpool: 0 65536 thin-pool vg-new_tmeta vg-new_tdata 128 0 3 skip_block_zeroing no_discard_passdown error_if_no_space\n"},
		{name: "discards that are ignored, and an event when it gets tight", lv: "new", o: ActivateOptions{PoolThreshold: func(*LV) int { return 80 }},
			change: func(vg *VG) { vg.LV("new").ThinPool().Discards = DiscardsIgnore },
			want: "vg-new_tmeta -tmeta: 0 8192 linear /dev/vdb 124928\n" +
				"vg-new_tdata -tdata: 0 65536 linear /dev/vdb 133120\n" +
				"vg-new -tpool: 0 65536 thin-pool vg-new_tmeta vg-new_tdata 128 102 1 ignore_discard\n"},
	} {
		vg := thinVG(t)
		if tt.change != nil {
			tt.change(vg)
		}
		tt.o.PVDevice = pvDevice(vg).PVDevice
		list, err := vg.Activations(tt.lv, tt.o)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, show(t, list)); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
		unit, err := vg.Unit(tt.lv)
		must(t, err)
		own, shared := vg.UnitDevices(unit)
		for _, a := range list {
			if !slices.Contains(append(own, shared...), a.UUID) {
				t.Errorf("%s: %s is none of the unit's devices", tt.name, a.Name)
			}
		}
	}
}

// setMerging records a merge as lvm2 can, of thick snapshots of thin volumes too.
func (vg *VG) setMerging(helper string) error {
	h := vg.LV(helper)
	h.Segments[0].Merging = true
	h.setStatus(statusVisible, false)
	return vg.Validate()
}

// The kernel state that lvm2 made of the golden text, of thin volumes.
func TestThinActivationsGolden(t *testing.T) {
	vg := mustParse(t, golden(t))
	below := "vg-pool_tmeta -tmeta: 0 8192 linear /dev/vdb 124928\n" +
		"vg-pool_tdata -tdata: 0 65536 linear /dev/vdb 59392\n" +
		"vg-pool-tpool -tpool: 0 65536 thin-pool vg-pool_tmeta vg-pool_tdata 128 0 0\n"
	for lv, want := range map[string]string{
		"pool": below + "vg-pool -pool read-only: 0 65536 linear vg-pool-tpool 0\n",
		"t1":   below + "vg-t1 -: 0 40960 thin vg-pool-tpool 1\n",
		"ts1":  below + "vg-ts1 -: 0 40960 thin vg-pool-tpool 2\n",
	} {
		list, err := vg.Activations(lv, pvDevice(vg))
		must(t, err)
		if diff := cmp.Diff(want, show(t, list)); diff != "" {
			t.Errorf("%s: %s", lv, diff)
		}
	}
	for lv, want := range map[string]string{"pool": "-pool", "pool_tmeta": "-tmeta", "pool_tdata": "-tdata", "t1": "", "root": ""} {
		v := vg.LV(lv)
		if got := vg.DeviceUUID(v); got != dmcore.UUID("LVM-"+string(vg.ID)+string(v.ID)+want) {
			t.Errorf("%s is %s", lv, got)
		}
	}
}

func TestThinActivationsRefuse(t *testing.T) {
	for _, tt := range []struct {
		lv, says string
		change   func(*VG)
		want     error
	}{
		{"pool_tdata", "is a part of thin pool pool", nil, ErrInvalid},
		{"lvol0_pmspare", "kept for the repair", nil, ErrInvalid},
		{"ts5", "waits to be merged into t5", nil, ErrMerging},
		{"t1", "pool_tdata: pv0 (/dev/vdb): physical volume is missing", func(vg *VG) { vg.PVs[0].Flags = []string{"MISSING"} }, ErrMissingPV},
		{"t1", "pool_tmeta: segment type \"raid1\"", func(vg *VG) { vg.LV("pool_tmeta").Segments[0].Type = "raid1" }, ErrUnsupported},
		{"t1", "stands on gone", func(vg *VG) { vg.LV("t1").Thin().Pool = "gone" }, ErrNotFound},
		{"pool", "stands on gone_tmeta", func(vg *VG) { vg.LV("pool").ThinPool().Metadata = "gone_tmeta" }, ErrNotFound},
		{"text", "stands on itself", func(vg *VG) {
			vg.LV("text").Thin().ExternalOrigin = "t1"
			vg.LV("t1").Thin().ExternalOrigin = "text"
		}, ErrInvalid},
		{"text", "a thick snapshot as an external origin", func(vg *VG) { vg.LV("text").Thin().ExternalOrigin = "cow" }, ErrUnsupported},
	} {
		vg := thinVG(t)
		if tt.change != nil {
			tt.change(vg)
		}
		if tt.want == ErrMissingPV {
			tt.says = "pool_tmeta: pv0"
		}
		list, err := vg.Activations(tt.lv, pvDevice(vg))
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v and %d devices; want %v, %q", tt.lv, err, len(list), tt.want, tt.says)
		}
	}
}

// Of metadata larger than the kernel can use, a pool that says so maps a part.
func TestThinCropsMetadata(t *testing.T) {
	vg := thinVG(t)
	vg.PVs[0].PECount, vg.PVs[0].DevSize = 10000, 2048+vg.Sectors(10000)
	meta := vg.LV("new_tmeta")
	meta.Segments = []*Segment{
		{Count: 4040, Type: typeStriped, Stripes: []Area{{"pv0", 300}}},
		{Start: 4040, Count: 40, Type: typeStriped, Stripes: []Area{{"pv0", 5000}}},
		{Start: 4080, Count: 16, Type: typeStriped, Stripes: []Area{{"pv0", 6000}}},
	}
	for crop, want := range map[bool]dmcore.Sectors{false: 33554432, true: 33161216} {
		vg.LV("new").ThinPool().Crop = crop
		list, err := vg.Activations("new", pvDevice(vg))
		must(t, err)
		must(t, list[0].Table.Validate())
		if got := list[0].Table.Len(); got != want {
			t.Errorf("crop %v: %d sectors of metadata, want %d", crop, got, want)
		}
	}
	if got := crop(dmcore.Table{{Length: 8, Target: dmcore.Zero{}}, {Start: 8, Length: 8, Target: dmcore.Zero{}}}, 8); got.Len() != 8 || len(got) != 1 {
		t.Errorf("cropped where a segment ends: %v", got)
	}
}

func TestLowWater(t *testing.T) {
	for threshold, want := range map[int]uint64{0: 0, 100: 0, -5: 0, 99: 5, 80: 102, 70: 153, 50: 256, 10: 256} {
		if got := lowWater(65536, 128, threshold); got != want {
			t.Errorf("threshold %d: %d of 512 blocks, want %d", threshold, got, want)
		}
	}
}
