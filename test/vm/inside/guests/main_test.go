package guests

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"cowhand/test/lab"
	"cowhand/test/vm/inside"
)

func TestMain(m *testing.M) { inside.Main(m) }

// herd is a group vg0 with a volume and a guest, both called web, that boots
// from it; and a libvirt of the test's own.
type herd struct {
	*testing.T
	uri, pv string
}

const (
	web     = "/dev/vg0/web"
	webMiB  = 32
	copies  = 16 // of the version, on a disk: see testdata/guest.s
	apart   = 1 << 20
	sector  = 512
	firstAt = sector
)

// newHerd has lvm2 make the group, as on a host that ran guests before cowhand.
func newHerd(t *testing.T, version string) *herd {
	return newHerdOn(t, version, []string{"lvcreate", "-y", "-L", fmt.Sprintf("%dM", webMiB), "-n", "web", "vg0"})
}

// newHerdOn is newHerd with the volume made by these commands of lvm2's.
func newHerdOn(t *testing.T, version string, volume ...[]string) *herd {
	t.Helper()
	lab.Need(t, "as", "ld", "qemu-system-x86_64", "virsh", "libvirtd|virtqemud", "unshare")
	pv := inside.Disks(t, 1)[0]
	inside.Run(t, "vgcreate", "vg0", pv)
	t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", "vg0") })
	for _, words := range volume {
		inside.Run(t, words...)
	}
	dir := lab.Dir(t)
	install(t, dir, version)

	if err := os.MkdirAll("/var/log/libvirt", 0o755); err != nil { // /var/log is new in the VM
		t.Fatal(err)
	}
	libvirt, err := lab.StartLibvirt(t.Context(), lab.Mkdir(t, dir, "libvirt"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // with the guests, which are QEMU's on vg0
		if err := libvirt.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("LIBVIRT_DEFAULT_URI", libvirt.URI)
	h := &herd{T: t, uri: libvirt.URI, pv: pv}
	xml := filepath.Join(dir, "web.xml")
	if err := os.WriteFile(xml, []byte(lab.Domain{Name: "web", MemoryMiB: 16, Source: web}.XML()), 0o644); err != nil {
		t.Fatal(err)
	}
	h.virsh("define", xml)
	return h
}

// install puts the guest's program and what it calls its version on the volume.
func install(t *testing.T, dir, version string) {
	t.Helper()
	object, program := filepath.Join(dir, "guest.o"), filepath.Join(dir, "guest")
	inside.Run(t, "as", "--32", "-o", object, filepath.Join(inside.Source, "test/vm/inside/guests/testdata/guest.s"))
	inside.Run(t, "ld", "-m", "elf_i386", "--oformat", "binary", "-Ttext", "0x7c00", "-o", program, object)
	boot, err := os.ReadFile(program)
	if err != nil || len(boot) != sector {
		t.Fatalf("the guest has %d bytes, %v, want one sector", len(boot), err)
	}
	disk, err := os.OpenFile(web, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = disk.WriteAt(boot, 0)
	for i := range int64(copies) {
		_, one := disk.WriteAt([]byte(version), i*apart+firstAt)
		err = errors.Join(err, one)
	}
	if err := errors.Join(err, disk.Close()); err != nil {
		t.Fatal(err)
	}
}

// cowhand runs the program under test without a word of engines and devices: it
// has to take the kernel's, and look where lvm2 would.
func (h *herd) cowhand(words ...string) string {
	h.Helper()
	return inside.Run(h, append([]string{inside.Cowhand}, words...)...)
}

// refused wants an exit code, and a reason.
func (h *herd) refused(code int, reason string, words ...string) {
	h.Helper()
	out, err := inside.Try(h, append([]string{inside.Cowhand}, words...)...)
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != code || !strings.Contains(out, reason) {
		h.Errorf("cowhand %s: %v, want exit code %d and %q", strings.Join(words, " "), err, code, reason)
	}
}

// table runs a command of cowhand's that prints one, and returns its rows.
func (h *herd) table(words ...string) []map[string]any {
	h.Helper()
	out := h.cowhand(append([]string{"-o", "json"}, words...)...)
	var t map[string][]map[string]any
	if err := json.Unmarshal([]byte(out), &t); err != nil || len(t) != 1 {
		h.Fatalf("%s: %v", out, err)
	}
	for _, rows := range t {
		return rows
	}
	return nil
}

// row wants a table of one row, which has these values among others.
func (h *herd) row(words []string, want map[string]any) {
	h.Helper()
	rows := h.table(words...)
	if len(rows) != 1 {
		h.Fatalf("cowhand %s: %v, want one row", strings.Join(words, " "), rows)
	}
	for k, v := range want {
		if got := rows[0][k]; fmt.Sprint(got) != fmt.Sprint(v) {
			h.Errorf("cowhand %s: %s is %v, want %v", strings.Join(words, " "), k, got, v)
		}
	}
}

func (h *herd) virsh(words ...string) string {
	h.Helper()
	return strings.TrimSpace(inside.Run(h, append([]string{"virsh", "--quiet", "--connect", h.uri}, words...)...))
}

// guests wants libvirt to have these, as "NAME STATE".
func (h *herd) guests(want ...string) {
	h.Helper()
	var got []string
	for line := range strings.Lines(h.virsh("list", "--all")) {
		f := strings.Fields(line)
		got = append(got, strings.Join(f[1:], " "))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		h.Errorf("guests are %q, want %q", got, want)
	}
}

// identities wants guests to have UUIDs and network addresses of their own.
func (h *herd) identities(guests ...string) {
	h.Helper()
	whose := map[string]string{}
	for _, guest := range guests {
		ids, err := lab.Identity([]byte(h.virsh("dumpxml", guest)))
		if err != nil {
			h.Fatal(err)
		}
		for _, id := range ids {
			if other, taken := whose[id]; taken {
				h.Errorf("%s and %s are both %s", other, guest, id)
			}
			whose[id] = guest
		}
	}
}

// runsOn wants a guest's definition to name a block device as its disk.
func (h *herd) runsOn(guest, device string) {
	h.Helper()
	got := strings.Fields(h.virsh("domblklist", "--details", guest))
	if want := []string{"block", "disk", "vda", device}; !slices.Equal(got, want) {
		h.Errorf("the disk of %s is %q, want %q", guest, got, want)
	}
}

// ask sends a command to a guest that boots or runs, and wants it to say a version.
func (h *herd) ask(guest, command, want string) {
	h.Helper()
	begun := time.Now()
	c, err := lab.Attach(h.Context(), h.uri, guest)
	if err != nil {
		h.Fatal(err)
	}
	got, err := c.Do(h.Context(), command, "version=")
	if err := errors.Join(err, c.Close()); err != nil {
		h.Fatal(err)
	}
	h.Logf("%s: %s  (%.1f s)\n%s", guest, command, time.Since(begun).Seconds(), got)
	if got != want {
		h.Fatalf("%s, told to %s, says version %q, want %q", guest, command, got, want)
	}
}

// on wants a version on a volume's device, or at the volume web's place on the PV.
func (h *herd) on(device, want string) {
	h.Helper()
	at := lab.Extent{}
	if device == h.pv {
		var err error
		if at, err = lab.Where(h.Context(), h.pv, "web"); err != nil {
			h.Fatal(err)
		}
	}
	got, err := read(device, at.Offset)
	if err != nil {
		h.Error(err)
	}
	for i, version := range got {
		if version != want {
			h.Errorf("copy %d on %s is %q, want %q", i, device, version, want)
		}
	}
}

// read reads the copies of the version past the page cache, which two devices
// over one another do not share.
func read(device string, from int64) (versions []string, err error) {
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", device, err)
	}
	defer unix.Close(fd)
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	defer unix.Munmap(page)
	for i := range int64(copies) {
		if _, err := unix.Pread(fd, page, from+i*apart); err != nil {
			return nil, fmt.Errorf("%s: %w", device, err)
		}
		versions = append(versions, strings.TrimRight(string(page[firstAt:firstAt+sector]), "\x00"))
	}
	return versions, nil
}

// devices wants these to be mapped, as "NAME TARGET OPENS", each with one live
// table, none suspended.
func (h *herd) devices(want ...string) {
	h.Helper()
	if inside.Udev() { // it may be looking into one
		inside.Run(h, "udevadm", "settle")
	}
	target := map[string]string{}
	for line := range strings.Lines(inside.Run(h, "dmsetup", "table")) {
		f := strings.Fields(line)
		target[strings.TrimSuffix(f[0], ":")] += f[3]
	}
	var got []string
	for line := range strings.Lines(inside.Run(h, "dmsetup", "info", "-c", "--noheadings", "--separator", " ", "-o", "name,attr,open")) {
		f := strings.Fields(line)
		if f[1] != "L--w" {
			h.Errorf("%s is %q, want a live table alone, and nothing suspended", f[0], f[1])
		}
		got = append(got, f[0]+" "+target[f[0]]+" "+f[2])
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		h.Errorf("devices are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// volumes wants lvm2 to find the group in order, with these volumes, as "NAME
// ATTR ORIGIN".
func (h *herd) volumes(want ...string) {
	h.Helper()
	inside.Run(h, "vgck", "vg0")
	var got []string
	for line := range strings.Lines(inside.Run(h, "lvs", "-a", "--noheadings", "-o", "lv_name,lv_attr,origin", "vg0")) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	if !slices.Equal(got, want) {
		h.Errorf("volumes are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// off waits until a guest that powers off is.
func (h *herd) off(guest string) {
	h.Helper()
	err := lab.Poll(h.Context(), func() (bool, error) { return h.virsh("domstate", guest) == "shut off", nil })
	if err != nil {
		h.Fatal(err)
	}
}
