package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// What lvs tells of the group that lvm2 wrote, with its pool live.
func TestLVMThinColumns(t *testing.T) {
	text, err := os.ReadFile("../../lvm/testdata/vg-text-seqno12.bin")
	if err != nil {
		t.Fatal(err)
	}
	vg, err := lvm.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	on := lvm.LVState{Known: true, Exists: true, Info: dmcore.Info{Live: true}}
	pool := on
	pool.Thin = &lvm.ThinState{Pool: &dmcore.ThinPoolStatus{UsedMetadata: 121, TotalMetadata: 1024, UsedData: 64, TotalData: 512,
		Mode: dmcore.ThinPoolOutOfDataSpace, Discard: dmcore.DiscardPassdown}}
	g := newLVMGroup(vg, nil, map[string]lvm.LVState{"pool": pool, "t1": on, "ts1": {Known: true}})
	columns := slices.Concat(lvmVolumeColumns(), lvmSegmentColumns())
	for _, tt := range []struct{ lv, fields, want string }{
		{"pool", "lv_name lv_attr lv_layout lv_role lv_modules lv_permissions lv_health_status",
			"pool twi-a-tzD- thin,pool private thin-pool read-only-override out_of_data"},
		{"pool", "data_percent metadata_percent data_lv metadata_lv lv_metadata_size pool_lv", "12.50 11.82 [pool_tdata] [pool_tmeta] 4.00m "},
		{"pool", "lv_when_full kernel_discards discards zero chunk_size thin_count transaction_id thin_id stripes devices",
			"queue passdown passdown zero 64.00k 2 2  1 pool_tdata(0)"},
		{"pool", "data_lv_uuid metadata_lv_uuid", vg.LV("pool_tdata").ID.Dashed() + " " + vg.LV("pool_tmeta").ID.Dashed()},
		{"t1", "lv_attr pool_lv origin thin_id transaction_id discards zero lv_role lv_descendants lv_modules stripes chunk_size data_percent",
			"Vwi-a-tz-- pool  1 0 passdown zero public,origin,thinorigin ts1 thin,thin-pool 0 0  "},
		{"ts1", "lv_attr pool_lv origin origin_size thin_id transaction_id lv_role lv_ancestors lv_layout lv_permissions lv_when_full",
			"Vwi---tz-k pool t1  2 1 public,snapshot,thinsnapshot t1 thin,sparse unknown "},
		{"pool_tdata", "lv_name lv_role data_lv", "[pool_tdata] private,thin,pool,data "},
		{"pool_tmeta", "lv_name lv_role lv_attr", "[pool_tmeta] private,thin,pool,metadata ewi-XX----"},
		{"lvol0_pmspare", "lv_role zero discards transaction_id", "private,pool,spare unknown  "},
	} {
		lv := vg.LV(tt.lv)
		row := &lvmRow{group: g, lv: lv, state: g.states[tt.lv], seg: lv.Segments[0], units: lvmUnits{unit: 'h'}}
		var got []string
		for _, f := range strings.Fields(tt.fields) {
			i := slices.IndexFunc(columns, func(c lvmColumn) bool { return c.name == f })
			if i < 0 {
				t.Fatalf("no field %s", f)
			}
			got = append(got, columns[i].show(row).text)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s\n%s\nis   %q\nwant %q", tt.lv, tt.fields, s, tt.want)
		}
	}
}
