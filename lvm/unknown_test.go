package lvm

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

const strange = `# a comment
vg {
id = "iql4DZ-L9vi-Og2H-PoLs-hWl7-hgwI-mwasz0"	# beside
seqno = 7
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = ["SOMETHING_NEW"]
extent_size = 8192
max_lv = 0
max_pv = 0
allocation_policy = "cling"
metadata_copies = 0
new_key = [1, "two", 3.5]

physical_volumes {

pv0 {
id = "5xFaQv-Pu91-vtFg-s0iI-vQCK-KLoz-OPJ9l9"
device = "/dev/vdb"

device_id_type = "sys_wwid"
device_id = "x"
status = ["ALLOCATABLE"]
flags = []
dev_size = 1048576
pe_start = 2048
pe_count = 127
ba_start = 1
ba_size = 2
}
}

future {
deep {
x = 1
}
}

logical_volumes {

r1 {
id = "LnYuBw-iiAu-ymcn-2WpG-oEhm-6OAE-mWp8k4"
status = ["READ", "WRITE", "VISIBLE"]
flags = ["ODD"]
lock_args = "abc"
segment_count = 2

segment1 {
start_extent = 0
extent_count = 2
reshape_count = 1

type = "striped+NEWFLAG"
stripe_count = 1

stripes = [
"pv0", 10
]
}
segment2 {
start_extent = 2
extent_count = 3

type = "holographic"
plates = ["pv0", 20]
}
}

plain {
id = "OyIGOb-OXQH-T9QP-xPmF-CXea-prld-kh0uHI"
status = ["READ", "WRITE", "VISIBLE"]
creation_time = 5
creation_host = "h"
read_ahead = 256
segment_count = 1

segment1 {
start_extent = 0
extent_count = 1

type = "striped"
tags = ["seg"]
stripe_count = 1	# linear

stripes = [
"pv0", 0
]
}
}
}

}
contents = "Text Format Volume Group"
version = 1
site = "here"
description = "d"
creation_host = "h"
creation_time = 5
`

// Everything this package does not know is still there after a change.
func TestUnknownSurvives(t *testing.T) {
	vg := mustParse(t, []byte(strange))
	must(t, vg.Validate())
	if got, want := fmt.Sprint(vg.FreeRuns()), "[{pv0 1 9} {pv0 12 8} {pv0 23 104}]"; got != want {
		t.Errorf("free %s, want %s: areas of unknown types are taken", got, want)
	}
	vg.Seqno++
	must(t, vg.Rename("plain", "renamed"))
	must(t, vg.AddTags("renamed", "new"))
	snap(t, vg, "renamed", "s", 1)
	for op, err := range map[string]error{
		"rename": vg.Rename("r1", "r2"),
		"remove": vg.Remove("r1"),
		"snapshot": func() error {
			_, err := vg.AddSnapshots([]SnapshotSpec{{Origin: "r1", Name: "x", Size: Size{Count: 1}}})
			return err
		}(),
		"extend":   func() error { _, err := vg.ExtendLV("r1", 9); return err }(),
		"activate": func() error { _, err := vg.Activations("r1", pvDevice(vg)); return err }(),
	} {
		if !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s of an unknown type: %v, want ErrUnsupported", op, err)
		}
	}
	got := string(text(t, vg))
	for line := range strings.Lines(strange) {
		switch line = strings.TrimSpace(line); line {
		case "seqno = 7", "plain {", `description = "d"`, `creation_host = "h"`, "creation_time = 5", `stripe_count = 1	# linear`:
			continue
		}
		if strings.Count(got, line+"\n") < strings.Count(strange, line+"\n") {
			t.Errorf("lost %q", line)
		}
	}
	for _, want := range []string{"seqno = 8\n", "\nrenamed {\n", "tags = [\"new\"]\n", "creation_time = 5\n", "stripe_count = 1\t# linear\n", "snapshot0 {"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
