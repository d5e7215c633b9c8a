package lvm

import (
	"errors"
	"strings"
	"testing"
)

func TestValidateThin(t *testing.T) {
	pool := func(vg *VG) *ThinPool { return vg.LV("pool").ThinPool() }
	thin := func(vg *VG, name string) *Thin { return vg.LV(name).Thin() }
	for _, tt := range []struct {
		want  string
		spoil func(*VG)
	}{
		{"chunk size of 64 sectors", func(vg *VG) { vg.LV("pool").Segments[0].ChunkSize = 64 }},
		{"chunk size of 200 sectors", func(vg *VG) { vg.LV("pool").Segments[0].ChunkSize = 200 }},
		{"chunk size of 2097280 sectors", func(vg *VG) { vg.LV("pool").Segments[0].ChunkSize = 2097280 }},
		{"discards is \"some\"", func(vg *VG) { pool(vg).Discards = "some" }},
		{"its metadata \"gone_tmeta\" is not there", func(vg *VG) { pool(vg).Metadata = "gone_tmeta" }},
		{"its data \"gone\" is not there", func(vg *VG) { pool(vg).Data = "gone" }},
		{"its metadata root is not called _tmeta", func(vg *VG) { pool(vg).Metadata = "root" }},
		{"its data root has the status VISIBLE", func(vg *VG) { pool(vg).Data = "root" }},
		{"t1 cannot be its data", func(vg *VG) { pool(vg).Data = "t1" }},
		{"is both its data and its metadata", func(vg *VG) { pool(vg).Data = "pool_tmeta" }},
		{"new_tdata is the data of new, too", func(vg *VG) { pool(vg).Data = "new_tdata" }},
		{"has 9 extents, its data pool_tdata has 8", func(vg *VG) { vg.LV("pool").Segments[0].Count = 9 }},
		{"t1 and text both have the device id 1", func(vg *VG) { thin(vg, "text").DeviceID = 1 }},
		{"has messages, and the transaction id 0", func(vg *VG) {
			pool(vg).TransactionID, pool(vg).Messages = 0, []ThinMessage{{Delete: 1}}
		}},
		{"message 2 is there twice", func(vg *VG) { pool(vg).Messages = []ThinMessage{{Delete: 9}, {Delete: 9}} }},
		{"device id 16777216 is above", func(vg *VG) { pool(vg).Messages = []ThinMessage{{Delete: 1 << 24}} }},
		{"\"root\" is no thin volume in it", func(vg *VG) { pool(vg).Messages = []ThinMessage{{Create: "root"}} }},
		{"\"t1\" is no thin volume in it", func(vg *VG) {
			p := vg.LV("new").ThinPool()
			p.TransactionID, p.Messages = 1, []ThinMessage{{Create: "t1"}}
		}},
		{"\"root\" is no thin pool", func(vg *VG) { thin(vg, "t1").Pool = "root" }},
		{"device id 16777216 is above", func(vg *VG) { thin(vg, "t1").DeviceID = 1 << 24 }},
		{"its origin \"gone\" is not there", func(vg *VG) { thin(vg, "t1").Origin = "gone" }},
		{"refers to itself", func(vg *VG) { thin(vg, "t1").Origin = "t1" }},
		{"\"gone\" cannot be its external origin", func(vg *VG) { thin(vg, "t1").ExternalOrigin = "gone" }},
		{"\"pool\" cannot be its external origin", func(vg *VG) { thin(vg, "t1").ExternalOrigin = "pool" }},
		{"\"root\", that it is to be merged into, is no thin volume", func(vg *VG) { thin(vg, "ts5").Merge = "root" }},
		{"ts5 is to be merged into t5, too", func(vg *VG) {
			thin(vg, "ts1").Merge = "t5"
			vg.LV("ts1").setStatus(statusVisible, false)
		}},
		{"must not have the status VISIBLE", func(vg *VG) { vg.LV("ts5").setStatus(statusVisible, true) }},
		{"there is a spare for the metadata", func(vg *VG) {
			lv := add(t, vg, "x", 1)
			lv.setStatus(statusVisible, false)
			lv.Name = "lvol1_pmspare"
		}},
		{"thin volumes have one segment", func(vg *VG) {
			lv := vg.LV("t1")
			second := *lv.Segments[0]
			second.Start = lv.Extents()
			lv.Segments = append(lv.Segments, &second)
		}},
	} {
		vg := thinVG(t)
		tt.spoil(vg)
		err := vg.Validate()
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("got %v, want %q", err, tt.want)
		}
	}
}
