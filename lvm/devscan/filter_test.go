package devscan

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestFilter(t *testing.T) {
	sda := []string{"/dev/sda", "/dev/disk/by-id/scsi-1", "/dev/disk/by-path/pci-0"}
	for _, test := range []struct {
		patterns string // by blanks
		names    []string
		first    string // "": rejected
	}{
		{"a|.*|", sda, "/dev/sda"},
		{"r|.*|", sda, ""},
		{"r|/dev/cdrom|", sda, "/dev/sda"},
		{"a|loop| r|.*|", []string{"/dev/loop0"}, "/dev/loop0"},
		{"a|loop| r|/dev/hdc| a|/dev/ide| r|.*|", []string{"/dev/hdc"}, ""},
		{"a|^/dev/hda8$| r|.*|", []string{"/dev/hda8"}, "/dev/hda8"},
		{"a|^/dev/hda8$| r|.*|", []string{"/dev/hda80"}, ""},
		{"r/^sda$/ a(x) r[sda] a{.*}", sda, "/dev/disk/by-id/scsi-1"},
		// Red Hat's advice for multipath, and for a disk by its id.
		{"a|/dev/disk/by-id/.*| r|.*|", sda, "/dev/disk/by-id/scsi-1"},
		{"a|^/dev/mapper/mpath.*| r|.*|", sda, ""},
		// A name that is accepted outweighs those that are rejected, and one that is
		// rejected those of which nothing is said.
		{"r|^/dev/sda| a|by-path|", sda, "/dev/disk/by-path/pci-0"},
		{"r|by-path|", sda, ""},
		{"r|by-path| a|.*|", sda, "/dev/sda"},
	} {
		f, err := ParseFilter(strings.Fields(test.patterns))
		if err != nil {
			t.Errorf("%s: %v", test.patterns, err)
			continue
		}
		names, accept, by := f.choose(test.names)
		if accept != (test.first != "") || accept && names[0] != test.first || len(names) != len(test.names) {
			t.Errorf("%s: %q, %t by %q", test.patterns, names, accept, by)
		}
	}
	for _, p := range []string{"", "a", "a|", "|x|", "x|a|", "a|x", "a||", "a(x(", "r|a(|"} {
		if _, err := ParseFilter([]string{p}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", p, err)
		}
	}
	if _, accept, _ := (*Filter)(nil).choose(sda); !accept {
		t.Error("no filter rejects")
	}
}

// The order is lvm2's: dev-cache.c, _compare_paths.
func TestOrder(t *testing.T) {
	link := func(p string) Name { return Name{p, true} }
	node := func(p string) Name { return Name{p, false} }
	for _, test := range []struct {
		names     []Name
		preferred string
		first     string
	}{
		{[]Name{link("/dev/block/8:0"), link("/dev/disk/by-id/x"), node("/dev/sda")}, "", "/dev/sda"},
		{[]Name{node("/dev/dm-0"), link("/dev/disk/by-id/dm-name-x"), link("/dev/mapper/mpatha")}, "", "/dev/mapper/mpatha"},
		{[]Name{link("/dev/vg0/lv"), link("/dev/mapper/vg0-lv"), node("/dev/dm-1")}, "", "/dev/vg0/lv"},
		{[]Name{node("/dev/dm-0"), link("/dev/disk/by-id/x")}, "", "/dev/disk/by-id/x"},
		{[]Name{node("/dev/vda"), link("/dev/root")}, "", "/dev/root"},
		{[]Name{node("/dev/xb"), node("/dev/xa")}, "", "/dev/xa"},
		{[]Name{link("/dev/disk/by-path/a"), link("/dev/disk/by-id/b")}, "", "/dev/disk/by-id/b"},
		{[]Name{node("/dev/sda"), link("/dev/disk/by-id/x")}, "by-id", "/dev/disk/by-id/x"},
		{[]Name{node("/mnt/dev/sda"), node("/dev/sda")}, "", "/dev/sda"},
	} {
		r := &Rules{}
		if test.preferred != "" {
			re, err := compileRegex(test.preferred)
			if err != nil {
				t.Fatal(err)
			}
			r.preferred = append(r.preferred, re)
		}
		for range 2 {
			if got := order(test.names, "/dev", r.preferred)[0]; got != test.first {
				t.Errorf("%v: %s", test.names, got)
			}
			slices.Reverse(test.names)
		}
	}
}
