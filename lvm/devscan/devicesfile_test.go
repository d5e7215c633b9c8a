package devscan

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseDevicesFile(t *testing.T) {
	f, problems := ParseDevicesFile([]byte(`# LVM uses devices listed in this file.
# Created by LVM command vgimportdevices pid 4711 at Fri Nov 25 17:31:00 2022
SYSTEMID=rhel9
VERSION=1.1.7
IDTYPE=sys_wwid IDNAME=naa.5000c500a1b2c3d4 DEVNAME=/dev/sda2 PVID=abcdefghijabcdefghijabcdefghijab PART=2
IDTYPE=devname IDNAME=/dev/vdb DEVNAME=/dev/vdb PVID=.
IDTYPE=devname IDNAME=. DEVNAME=/dev/vdc PVID=bbcdefghijabcdefghijabcdefghijab
IDTYPE=mpath_uuid IDNAME=mpath-3600140 DEVNAME=. PVID=.
IDTYPE=wwid_naa IDNAME=naa.1 DEVNAME=/dev/sdb PVID=.
IDTYPE=sys_wwid IDNAME=x PART=two
a line of something else
`))
	want := DevicesFile{SystemID: "rhel9", Version: "1.1.7", Entries: []Entry{
		{5, IDSysWWID, "naa.5000c500a1b2c3d4", "/dev/sda2", "abcdefghijabcdefghijabcdefghijab", 2},
		{6, IDDevname, "/dev/vdb", "/dev/vdb", "", 0},
		{7, IDDevname, "", "/dev/vdc", "bbcdefghijabcdefghijabcdefghijab", 0},
		{8, IDMpathUUID, "mpath-3600140", "", "", 0},
	}}
	if diff := cmp.Diff(want, f); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if got := fmt.Sprint(problems); len(problems) != 2 || !strings.Contains(got, "line 9: IDTYPE=wwid_naa") || !strings.Contains(got, "line 10: PART=two") {
		t.Errorf("%v", problems)
	}
}

func FuzzDevicesFile(f *testing.F) {
	f.Add([]byte("VERSION=1.1.7\nIDTYPE=devname IDNAME=/dev/vdb DEVNAME=/dev/vdb PVID=. PART=1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		file, problems := ParseDevicesFile(text)
		for _, p := range problems {
			if !errors.Is(p, ErrInvalid) {
				t.Fatal(p)
			}
		}
		lines := 1 + strings.Count(string(text), "\n")
		for _, e := range file.Entries {
			if e.Line < 1 || e.Line > lines || strings.ContainsAny(e.IDName+e.PVID, " \n") || e.Part < 0 {
				t.Fatalf("%+v", e)
			}
		}
	})
}
