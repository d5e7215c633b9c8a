package hypervisor

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func corpus(t testing.TB) map[string]string {
	t.Helper()
	all := map[string]string{}
	paths, err := filepath.Glob("testdata/*.xml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all[filepath.Base(p)] = string(b)
	}
	return all
}

// changed returns the lines that differ, those of a with "-", of b with "+".
func changed(a, b string) string {
	old, now := strings.Split(a, "\n"), strings.Split(b, "\n")
	// The longest common subsequence, as a table of its lengths.
	n := make([][]int, len(old)+1)
	for i := range n {
		n[i] = make([]int, len(now)+1)
	}
	for i := len(old) - 1; i >= 0; i-- {
		for j := len(now) - 1; j >= 0; j-- {
			n[i][j] = max(n[i+1][j], n[i][j+1])
			if old[i] == now[j] {
				n[i][j] = n[i+1][j+1] + 1
			}
		}
	}
	var out []string
	for i, j := 0, 0; i < len(old) || j < len(now); {
		switch {
		case i < len(old) && j < len(now) && old[i] == now[j]:
			i, j = i+1, j+1
		case i < len(old) && (j == len(now) || n[i+1][j] >= n[i][j+1]):
			out = append(out, "-"+old[i])
			i++
		default:
			out = append(out, "+"+now[j])
			j++
		}
	}
	return strings.Join(out, "\n") + "\n"
}

func TestNothingToChangeChangesNothing(t *testing.T) {
	for name, xml := range corpus(t) {
		got, err := RewriteXML(xml, Rewrite{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got != xml {
			t.Errorf("%s (-was +is):\n%s", name, changed(xml, got))
		}
	}
}

func TestRewrite(t *testing.T) {
	web1 := corpus(t)["web1.xml"]
	const uuid = "11111111-2222-4333-8444-555555555555"
	tests := []struct {
		name string
		r    Rewrite
		want string
	}{
		{"block device", Rewrite{Disks: map[string]DiskSource{"vda": {Device: "/dev/vg0/root-try"}}}, `
-      <driver name='qemu' type='raw' cache='none' io='native' discard='unmap'/>
-      <source dev='/dev/vg0/root'/>
+      <driver name='qemu' type='raw' cache='none' io='native' discard='unmap' error_policy='stop' rerror_policy='stop'/>
+      <source dev='/dev/vg0/root-try'/>
-      <alias name='virtio-disk0'/>
`},
		{"block to NBD", Rewrite{Disks: map[string]DiskSource{"vda": {Export: "vg0/root-try", Socket: "/run/a&b/nbd.sock", Reconnect: 30}}}, `
-    <disk type='block' device='disk'>
-      <driver name='qemu' type='raw' cache='none' io='native' discard='unmap'/>
-      <source dev='/dev/vg0/root'/>
+    <disk type='network' device='disk'>
+      <driver name='qemu' type='raw' cache='none' io='native' discard='unmap' error_policy='stop' rerror_policy='stop'/>
+      <source protocol='nbd' name='vg0/root-try'>
+        <host transport='unix' socket='/run/a&amp;b/nbd.sock'/>
+        <reconnect delay='30'/>
+      </source>
-      <alias name='virtio-disk0'/>
`},
		{"NBD to NBD keeps the policy and the user's alias", Rewrite{Disks: map[string]DiskSource{"vdb": {Export: "vg0/d", Socket: "/s"}}}, `
-      <driver name='qemu' type='raw' error_policy='report'/>
-      <source protocol='nbd' name='vg0/data' index='2'>
-        <host transport='unix' socket='/run/cowhand/nbd.sock'/>
-        <reconnect delay='10'/>
+      <driver name='qemu' type='raw' error_policy='report' rerror_policy='stop'/>
+      <source protocol='nbd' name='vg0/d'>
+        <host transport='unix' socket='/s'/>
`},
		{"NBD to block", Rewrite{Disks: map[string]DiskSource{"vdb": {Device: "/dev/x"}}}, `
-    <disk type='network' device='disk'>
-      <driver name='qemu' type='raw' error_policy='report'/>
-      <source protocol='nbd' name='vg0/data' index='2'>
-        <host transport='unix' socket='/run/cowhand/nbd.sock'/>
-        <reconnect delay='10'/>
-      </source>
+    <disk type='block' device='disk'>
+      <driver name='qemu' type='raw' error_policy='report' rerror_policy='stop'/>
+      <source dev='/dev/x'/>
`},
		{"file to block keeps qcow2 and the label", Rewrite{Disks: map[string]DiskSource{"sda": {Device: "/dev/vg0/q"}}}, `
-    <disk type='file' device='disk'>
-      <driver name='qemu' type='qcow2'/>
-      <source file='/dev/vg0/qcow' startupPolicy='optional'>
+    <disk type='block' device='disk'>
+      <driver name='qemu' type='qcow2' error_policy='stop' rerror_policy='stop'/>
+      <source dev='/dev/vg0/q' startupPolicy='optional'>
`},
		{"identity", Rewrite{Name: "web2", UUID: uuid}, `
-  <name>web1</name>
-  <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>
+  <name>web2</name>
+  <uuid>11111111-2222-4333-8444-555555555555</uuid>
-      <entry name='uuid'>c7a5fdbd-edaf-9455-926a-d65c16db1809</entry>
+      <entry name='uuid'>11111111-2222-4333-8444-555555555555</entry>
-    <nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/lib/libvirt/qemu/nvram/web1_VARS.fd</nvram>
+    <nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/lib/libvirt/qemu/nvram/web2_VARS.fd</nvram>
-      <source mode='bind' path='/run/guests/web1.sock'/>
+      <source mode='bind' path='/run/guests/web2.sock'/>
-      <source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-7-web1/org.qemu.guest_agent.0'/>
-  <seclabel type='dynamic' model='dac' relabel='yes'>
-    <label>+64055:+64055</label>
-    <imagelabel>+64055:+64055</imagelabel>
-  </seclabel>
+  <seclabel type='dynamic' model='dac' relabel='yes'/>
`},
		{"MAC", Rewrite{FreshMACs: func() string { return "52:54:00:00:00:01" }}, `
-      <mac address='52:54:00:aa:bb:cc'/>
+      <mac address='52:54:00:00:00:01'/>
`},
		{"isolated", Rewrite{Network: Isolated}, `
+      <link state='down'/>
`},
		{"no network", Rewrite{Network: None}, `
-    <interface type='network'>
-      <mac address='52:54:00:aa:bb:cc'/>
-      <source network='default'/>
-      <model type='virtio'/>
-    </interface>
`},
		{"generation ID", Rewrite{FreshGenID: true}, `
-  <genid>3d3c4a4e-3a70-4a1f-b0d1-5a3e8f5d2f11</genid>
+  <genid/>
`},
		{"mark", Rewrite{Mark: &Mark{Set: "<s>", Role: "trial", Of: "web1"}}, `
+    <cowhand:guest xmlns:cowhand='urn:cowhand:guest:1' set='&lt;s&gt;' role='trial' of='web1'/>
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := RewriteXML(web1, tt.r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimPrefix(tt.want, "\n"), changed(web1, got)); diff != "" {
				t.Error("(-want +got)\n" + diff)
			}
		})
	}
}

func TestRewriteRefuses(t *testing.T) {
	web1 := corpus(t)["web1.xml"]
	lun := strings.Replace(web1, "device='disk'", "device='lun'", 1)
	mirror := strings.Replace(web1, "<backingStore/>", "<mirror type='file'/>", 1)
	tests := []struct {
		name string
		xml  string
		r    Rewrite
		want error
	}{
		{"no such disk", web1, Rewrite{Disks: map[string]DiskSource{"vdz": {Device: "/dev/x"}}}, ErrInvalid},
		{"two sources", web1, Rewrite{Disks: map[string]DiskSource{"vda": {Device: "/dev/x", Export: "x", Socket: "/s"}}}, ErrInvalid},
		{"no source", web1, Rewrite{Disks: map[string]DiskSource{"vda": {}}}, ErrInvalid},
		{"relative", web1, Rewrite{Disks: map[string]DiskSource{"vda": {Device: "x"}}}, ErrInvalid},
		{"export without socket", web1, Rewrite{Disks: map[string]DiskSource{"vda": {Export: "x"}}}, ErrInvalid},
		{"lun over NBD", lun, Rewrite{Disks: map[string]DiskSource{"vda": {Export: "x", Socket: "/s"}}}, ErrUnsupported},
		{"block job", mirror, Rewrite{Disks: map[string]DiskSource{"vda": {Device: "/dev/x"}}}, ErrInUse},
		{"control character", web1, Rewrite{Disks: map[string]DiskSource{"vda": {Device: "/dev/\x01"}}}, ErrInvalid},
		{"no UTF-8", web1, Rewrite{Mark: &Mark{Set: "\xff"}}, ErrInvalid},
		{"relative NVRAM", web1, Rewrite{NVRAM: "x"}, ErrInvalid},
		{"name with slash", web1, Rewrite{Name: "a/b"}, ErrInvalid},
		{"name with newline", web1, Rewrite{Name: "a\nb"}, ErrInvalid},
		{"name like a flag", web1, Rewrite{Name: "-y"}, ErrInvalid},
		{"not a UUID", web1, Rewrite{UUID: "1"}, ErrInvalid},
		{"no XML", "hello", Rewrite{}, ErrInvalid},
		{"nothing", "", Rewrite{}, ErrInvalid},
		{"cut off", web1[:len(web1)/2], Rewrite{}, ErrInvalid},
		{"crossed", "<domain><name></domain></name>", Rewrite{}, ErrInvalid},
		{"document type", "<!DOCTYPE a [<!ENTITY b 'c'>]>" + web1, Rewrite{}, ErrInvalid},
		{"unknown entity", strings.Replace(web1, "ACME", "&b;", 1), Rewrite{}, ErrInvalid},
		{"two roots", web1 + web1, Rewrite{}, ErrInvalid},
		{"no name", "<domain/>", Rewrite{}, ErrInvalid},
		{"another root", "<network><name>a</name></network>", Rewrite{}, ErrInvalid},
		{"deep", "<domain>" + strings.Repeat("<a>", 1000), Rewrite{}, ErrInvalid},
		{"twice the target", strings.Replace(web1, "dev='vdb'", "dev='vda'", 1), Rewrite{}, ErrInvalid},
		{"twice the attribute", strings.Replace(web1, "type='kvm'", "type='kvm' type='qemu'", 1), Rewrite{}, ErrInvalid},
	}
	for _, tt := range tests {
		if got, err := RewriteXML(tt.xml, tt.r); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v; gave %d bytes", tt.name, err, tt.want, len(got))
		}
	}
}

// What libvirt wrote about a guest that runs is not part of another guest.
func TestRewriteOfALiveDefinition(t *testing.T) {
	live := corpus(t)["qemu-9.0-live.xml"]
	got, err := RewriteXML(live, Rewrite{Name: "other", Disks: map[string]DiskSource{"vda": {Device: "/dev/vg0/new"}}})
	if err != nil {
		t.Fatal(err)
	}
	want := `
-<domain type='qemu' id='1'>
-  <name>live</name>
+<domain type='qemu'>
+  <name>other</name>
-      <driver name='qemu' type='raw' cache='none' io='native'/>
-      <source dev='/dev/loop0' index='2'/>
+      <driver name='qemu' type='raw' cache='none' io='native' error_policy='stop' rerror_policy='stop'/>
+      <source dev='/dev/vg0/new'/>
-      <alias name='virtio-disk0'/>
-      <source mode='bind' path='/var/lib/libvirt/qemu/channel/target/domain-1-live/org.qemu.guest_agent.0'/>
-  <seclabel type='dynamic' model='dac' relabel='yes'>
-    <label>+64055:+64055</label>
-    <imagelabel>+64055:+64055</imagelabel>
-  </seclabel>
+  <seclabel type='dynamic' model='dac' relabel='yes'/>
`
	if diff := cmp.Diff(strings.TrimPrefix(want, "\n"), changed(live, got)); diff != "" {
		t.Error("(-want +got)\n" + diff)
	}
}

func TestRenamedPaths(t *testing.T) {
	for path, want := range map[string]string{
		"/run/web1":             "/run/new",
		"/run/web1.sock":        "/run/new.sock",
		"/var/web1/web1-a.log":  "/var/new/new-a.log",
		"/var/web10/myweb1.log": "/var/web10/myweb1.log",
		"/var/web1\u00e9":       "/var/web1\u00e9",
	} {
		if got := renamed(path, "web1", "new"); got != want {
			t.Errorf("%s became %s, want %s", path, got, want)
		}
	}
}

// A mark is found under any prefix, replaced, and removed without a trace.
func TestMark(t *testing.T) {
	web1 := corpus(t)["web1.xml"]
	mark := &Mark{Set: "s", Role: "clone"}
	once, err := RewriteXML(web1, Rewrite{Mark: &Mark{Set: "old"}})
	if err != nil {
		t.Fatal(err)
	}
	once = strings.Replace(once, "<cowhand:guest xmlns:cowhand=", "<ns0:guest xmlns:ns0=", 1)
	twice, err := RewriteXML(once, Rewrite{Mark: mark})
	if err != nil || strings.Count(twice, MarkNamespace) != 1 {
		t.Fatalf("%v in\n%s", err, twice)
	}
	if m, ok, err := ReadMark(twice); m != *mark || !ok || err != nil {
		t.Errorf("%+v, %v, %v", m, ok, err)
	}
	none, err := RewriteXML(twice, Rewrite{Mark: &Mark{}})
	if err != nil || none != web1 {
		t.Errorf("%v; without the mark again:\n%s", err, changed(web1, none))
	}
	bare := guestWith("")
	with, err := RewriteXML(bare, Rewrite{Mark: mark})
	if err != nil {
		t.Fatal(err)
	}
	if m, ok, err := ReadMark(with); m != *mark || !ok || err != nil {
		t.Errorf("%+v, %v, %v in %s", m, ok, err, with)
	}
	if _, ok, err := ReadMark(bare); ok || err != nil {
		t.Errorf("a mark in %s, %v", bare, err)
	}
}
