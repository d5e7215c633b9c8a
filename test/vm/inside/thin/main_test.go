package thin

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
	"cowhand/dmcore/kernel"
	"cowhand/lvm"
	"cowhand/test/vm/inside"
)

func TestMain(m *testing.M) { inside.Main(m) }

// node is how the kernel's tables name a disk.
func node(path string) (dmcore.Dev, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return dmcore.DevNo{Major: unix.Major(st.Rdev), Minor: unix.Minor(st.Rdev)}.Dev(), err
}

// engine is what `cowhand --engine kernel` works with.
func engine(disk string) *lvm.Engine {
	dm := kernel.New(kernel.Config{})
	return &lvm.Engine{
		Store: &lvm.Store{Devices: []string{disk}, Host: "vm", Open: func(path string, write bool) (blockdev.Device, error) {
			return blockdev.OpenFile(path, !write)
		}},
		DM:     dmcore.NewClient(dm),
		Node:   node,
		Probed: dm.Probed,
	}
}

func load(t *testing.T, e *lvm.Engine) *lvm.VG {
	t.Helper()
	vg, err := e.Store.Load(t.Context(), "vg0")
	if err != nil {
		t.Fatal(err)
	}
	return vg
}

// some makes a group in which lvm2 has a pool with an external origin and with
// snapshots thin and thick, and a pool in which nothing was made; and more, as
// lvm2's commands say.
func some(t *testing.T, more ...string) (disk string) {
	t.Helper()
	if testing.Short() {
		t.Skip("long")
	}
	disk = inside.Disks(t, 1)[0]
	inside.Run(t, "vgcreate", "vg0", disk)
	t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", "vg0") })
	for _, command := range append([]string{
		"lvcreate -y -L 8M -n base vg0",
		"lvcreate -y -T -L 32M -V 40M -n t1 vg0/pool",
		"lvcreate -y -T -V 20M -n thick vg0/pool",
		"lvcreate -y -s -n ts1 vg0/t1",
		"lvchange -an vg0/base",
		"lvchange -pr vg0/base",
		"lvcreate -y -s --thinpool vg0/pool -kn -n text vg0/base",
		"lvcreate -y -s -L 8M -n cow vg0/thick",
		"lvcreate -y -T -L 16M --discards ignore vg0/new",
	}, more...) {
		inside.Run(t, strings.Fields(command)...)
	}
	return disk
}

// device is what dmsetup tells of one.
type device struct{ uuid, table, readOnly string }

// devices asks dmsetup for all devices. Their numbers are turned into UUIDs.
func devices(t *testing.T) map[string]device {
	t.Helper()
	all, uuids := map[string]device{}, map[string]string{}
	for line := range strings.Lines(inside.Run(t, "dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "name,major,minor,uuid,attr")) {
		f := strings.Fields(line)
		if len(f) != 5 {
			if strings.HasPrefix(line, "No devices") {
				return nil
			}
			t.Fatalf("dmsetup info: %q", line)
		}
		all[f[0]] = device{uuid: f[3], readOnly: f[4][3:4]} // L-sw or L-sr
		uuids[f[1]+":"+f[2]] = "@" + f[3]
	}
	for line := range strings.Lines(inside.Run(t, "dmsetup", "table")) {
		name, line, _ := strings.Cut(line, ": ")
		words := strings.Fields(line)
		for i, w := range words {
			if to, ok := uuids[w]; ok {
				words[i] = to
			}
		}
		d := all[name]
		d.table = strings.TrimPrefix(d.table+" "+strings.Join(words, " "), " ")
		all[name] = d
	}
	return all
}

// want is what the group's volumes are to be, as cowhand has it.
func want(t *testing.T, vg *lvm.VG) map[string]device {
	t.Helper()
	all := map[string]device{}
	o := lvm.ActivateOptions{PVDevice: func(id lvm.ID) (dmcore.Dev, error) { return node(vg.PVByID(id).Device) }}
	for _, lv := range vg.ShownLVs() {
		list, err := vg.Activations(lv.Name, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			d := device{string(a.UUID), strings.ReplaceAll(a.Table.String(), "\n", " "), "w"}
			if a.ReadOnly {
				d.readOnly = "r"
			}
			if before, ok := all[string(a.Name)]; ok && before != d {
				t.Errorf("%s is %v for one volume and %v for another", a.Name, before, d)
			}
			all[string(a.Name)] = d
		}
	}
	return all
}

// equal fails the test where devices differ.
func equal(t *testing.T, when string, got, want map[string]device) {
	t.Helper()
	for name, w := range want {
		if g, ok := got[name]; !ok {
			t.Errorf("%s: %s is not there, want %v", when, name, w)
		} else if g != w {
			t.Errorf("%s: %s\ngot  %v\nwant %v", when, name, g, w)
		}
	}
	for name, g := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %s is there: %v", when, name, g)
		}
	}
}

// reports is what lvm2 tells of the group.
func reports(t *testing.T) string {
	t.Helper()
	return inside.Run(t, "lvs", "-a", "--noheadings", "-o", "lv_name,lv_attr,pool_lv,origin,data_percent,metadata_percent,devices,thin_id,transaction_id", "vg0")
}

// cowhand runs a command of LVM2's.
func cowhand(t *testing.T, disk string, words ...string) string {
	t.Helper()
	return inside.Run(t, append([]string{inside.Cowhand, "--engine", "kernel", "--devices", disk, "lvm"}, words...)...)
}

// sameReports compares the reports of both programs, field by field.
func sameReports(t *testing.T, disk string) {
	t.Helper()
	for _, fields := range []string{
		"lv_name,lv_attr,lv_size,lv_metadata_size,pool_lv,origin,data_percent,metadata_percent,data_lv,metadata_lv," +
			"pool_lv_uuid,origin_uuid,origin_size,data_lv_uuid,metadata_lv_uuid,lv_when_full,kernel_discards,lv_health_status," +
			"lv_layout,lv_role,lv_modules,lv_ancestors,lv_full_ancestors,lv_descendants,lv_skip_activation,lv_active",
		"lv_name,lv_permissions", // without fields for which lvs asks for a status, or it would be of another device
		"lv_name,segtype,stripes,data_stripes,chunk_size,thin_count,discards,zero,transaction_id,thin_id,devices,metadata_devices",
	} {
		words := []string{"-a", "--noheadings", "--separator", "|", "-o", fields, "vg0"}
		theirs := inside.Run(t, append([]string{"lvs"}, words...)...)
		ours := cowhand(t, disk, append([]string{"lvs"}, words...)...)
		// A pool tells less once the kernel has committed what was written to it.
		for again := ""; again != theirs; {
			if again = inside.Run(t, append([]string{"lvs"}, words...)...); again != theirs {
				theirs, ours = again, cowhand(t, disk, append([]string{"lvs"}, words...)...)
				again = ""
			}
		}
		w, g := strings.Split(theirs, "\n"), strings.Split(ours, "\n")
		for i := range max(len(w), len(g)) {
			if i >= len(w) || i >= len(g) || strings.TrimSpace(w[i]) != strings.TrimSpace(g[i]) {
				t.Errorf("%s\nlvm2 tells\n%s\ncowhand\n%s", fields, theirs, ours)
				break
			}
		}
	}
}

func kernelID(t *testing.T, e *lvm.Engine, vg *lvm.VG, pool string) uint64 {
	t.Helper()
	uuid := dmcore.BuildUUID(string(vg.ID), string(vg.LV(pool).ID), "tpool")
	st, err := e.DM.ThinPoolStatus(t.Context(), uuid)
	if err != nil {
		t.Fatal(err)
	}
	return st.TransactionID
}

func ref(name string) lvm.Ref { return lvm.Ref{VG: "vg0", LV: name} }

func active(t *testing.T) string {
	t.Helper()
	var names []string
	for name := range devices(t) {
		names = append(names, strings.TrimPrefix(name, "vg0-"))
	}
	slices.Sort(names)
	return fmt.Sprint(names)
}

func text(n uint64) string { return fmt.Sprint(n) }
