package lvm

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"cowhand/dmcore"

	"github.com/google/go-cmp/cmp"
)

func TestActivationsRefuse(t *testing.T) {
	vg := baseVG(t)
	snap(t, vg, "root", "s1", 3)
	broken := errors.New("no such disk")
	for _, tt := range []struct {
		lv   string
		o    ActivateOptions
		prep func(*VG)
		want error
	}{
		{"none", pvDevice(vg), nil, ErrNotFound},
		{"snapshot0", pvDevice(vg), nil, ErrInvalid},
		{"root", ActivateOptions{}, nil, ErrInvalid},
		{"root", ActivateOptions{PVDevice: func(ID) (dmcore.Dev, error) { return "", broken }}, nil, broken},
		{"root", pvDevice(vg), func(vg *VG) { vg.PVs[0].Flags = []string{"MISSING"} }, ErrMissingPV},
		{"s1", pvDevice(vg), func(vg *VG) { vg.LV("root").Segments[0].Type = "raid1" }, ErrUnsupported},
	} {
		c := vg.Clone()
		if tt.prep != nil {
			tt.prep(c)
		}
		if list, err := c.Activations(tt.lv, tt.o); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v and %d devices, want %v", tt.lv, err, len(list), tt.want)
		}
	}
}

// The kernel state lvm2 made of the golden text, with the merge waiting.
func TestActivationsGolden(t *testing.T) {
	vg := mustParse(t, golden(t))
	o := pvDevice(vg)
	o.NoMerging = true
	list, err := vg.Activations("s1", o)
	must(t, err)
	id := func(lv, layer string) string { return fmt.Sprintf("@%s", vg.uuid(vg.LV(lv), layer)) }
	var got strings.Builder
	for _, a := range list {
		fmt.Fprintf(&got, "%s %s\n", a.Name, a.Table)
	}
	want := "vg-root-real 0 32768 linear /dev/vdb 2048\n" +
		"vg-s1-cow 0 16384 linear /dev/vdb 34816\n" +
		"vg-s1 0 32768 snapshot " + id("root", "real") + " " + id("s1", "cow") + " P 8\n" +
		"vg-root 0 32768 snapshot-origin " + id("root", "real") + "\n"
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Error(diff)
	}
}
