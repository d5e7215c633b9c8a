package guests

import (
	"strings"
	"testing"

	"cowhand/test/lab"
	"cowhand/test/vm/inside"
)

// The three jobs of cowhand, one after the other on one guest: what `make demo` shows on the userspace
// machine. It takes 150 s of CPU time, for the most part libvirt's and QEMU's, so `make test`
// has it too.
func TestSlowGuestWorkflows(t *testing.T) {
	h := newHerd(t, "1.0")
	h.row([]string{"guests"}, map[string]any{"guest": "web", "disk": "vda", "kind": "block", "source": web, "volume": "vg0/web"})
	h.virsh("start", "web")
	h.ask("web", "version", "1.0")
	h.devices("vg0-web linear 1")

	h.rollback()
	h.discard()
	h.keep()
	h.deferred()
	h.clone()

	if out := h.cowhand("engine", "status"); !strings.Contains(out, "stopped") {
		t.Errorf("an engine of cowhand's runs, beside the kernel's: %s", out)
	}
	if out := h.cowhand("recover", "--list"); !strings.Contains(out, "Nothing is unfinished") {
		t.Errorf("runs are unfinished: %s", out)
	}
}

// A snapshot of a guest that runs, a mistake, and back.
func (h *herd) rollback() {
	h.Helper()
	h.cowhand("snapshot", "web", "--set", "before")
	h.ask("web", "write a-slip", "a-slip")
	h.on(web, "a-slip")
	h.on(h.pv, "a-slip")
	h.on("/dev/vg0/web.before", "1.0")
	h.devices("vg0-web snapshot-origin 1", "vg0-web-real linear 2", "vg0-web.before snapshot 0", "vg0-web.before-cow linear 1")
	h.row([]string{"ls"}, map[string]any{"set": "before", "guest": "web", "role": "snapshot", "grade": "crash", "disks": 1, "state": "active"})
	h.refused(5, "in use", "lvm", "lvchange", "-an", "vg0/web")

	h.cowhand("rollback", "web", "before", "-y")
	h.ask("web", "version", "1.0")
	h.on(h.pv, "1.0")
	h.devices("vg0-web linear 1")
	h.volumes("web -wi-ao----")
	if sets := h.table("ls"); len(sets) != 0 {
		h.Errorf("sets after the rollback: %v", sets)
	}
}

// A trial, changed and thrown away.
func (h *herd) discard() {
	h.Helper()
	h.cowhand("try", "web", "--set", "try")
	h.guests("web shut off", "web-try running")
	h.runsOn("web-try", "/dev/vg0/web.try")
	h.ask("web-try", "write bad-patch", "bad-patch")
	h.on("/dev/vg0/web.try", "bad-patch")
	h.on(web, "1.0")
	h.on(h.pv, "1.0")
	h.devices("vg0-web snapshot-origin 0", "vg0-web-real linear 2", "vg0-web.try snapshot 1", "vg0-web.try-cow linear 1")
	h.row([]string{"ls"}, map[string]any{"set": "try", "guest": "web", "role": "trial", "runs_as": "web-try", "grade": "clean", "state": "active"})
	h.row([]string{"show", "try"}, map[string]any{"origin": "vg0/web", "snapshot": "vg0/web.try", "open": 1, "state": "active", "uri": "/dev/vg0/web.try"})
	h.refused(3, "has no snapshot to go back to", "rollback", "web", "-y")
	h.refused(5, "in use", "lvm", "lvremove", "-y", "vg0/web.try")

	h.cowhand("discard", "web", "-y")
	h.guests("web running")
	h.ask("web", "version", "1.0")
	h.on(h.pv, "1.0")
	h.devices("vg0-web linear 1")
	h.volumes("web -wi-ao----")
}

// A trial, changed and kept.
func (h *herd) keep() {
	h.Helper()
	h.cowhand("try", "web", "--set", "try")
	h.ask("web-try", "write 2.0", "2.0")
	h.on(h.pv, "1.0")
	h.cowhand("keep", "web", "-y")
	h.guests("web running")
	h.runsOn("web", web)
	h.ask("web", "version", "2.0")
	h.on(h.pv, "2.0")
	h.devices("vg0-web linear 1")
	h.volumes("web -wi-ao----")
	h.refused(3, "no guest or set of that name has a trial", "keep", "web", "-y")
}

// A merge that is asked for while a guest has the origin open waits, until it
// has it no longer and the volumes are activated.
func (h *herd) deferred() {
	h.Helper()
	h.cowhand("lvm", "lvcreate", "-s", "-L", "8M", "-n", "point", "vg0/web")
	h.ask("web", "write another-slip", "another-slip")
	if out := h.cowhand("lvm", "lvconvert", "--merge", "vg0/point"); !strings.Contains(out, "will occur on next activation") {
		h.Errorf("a merge into a volume that a guest has open: %s", out)
	}
	h.ask("web", "version", "another-slip")
	h.devices("vg0-point snapshot 0", "vg0-point-cow linear 1", "vg0-web snapshot-origin 1", "vg0-web-real linear 2")
	h.volumes("[point] Swi-a-s--- web", "web Owi-aos---")

	h.virsh("shutdown", "web")
	h.off("web")
	h.cowhand("lvm", "lvchange", "--refresh", "vg0/web")
	h.on(web, "2.0")
	err := lab.Poll(h.Context(), func() (bool, error) {
		out, err := inside.Try(h, "lvs", "-a", "--noheadings", "-o", "lv_name", "vg0")
		return !strings.Contains(out, "point"), err
	})
	if err != nil {
		h.Fatal(err)
	}
	h.on(h.pv, "2.0")
	h.devices("vg0-web linear 0")
	h.volumes("web -wi-a-----")
}

// Two instances of one image, each on a snapshot of its own.
func (h *herd) clone() {
	h.Helper()
	h.cowhand("clone", "web", "--count", "2", "--name", "web%02d")
	h.guests("web shut off", "web01 running", "web02 running")
	for _, name := range []string{"web01", "web02"} {
		h.ask(name, "write "+name, name)
		h.runsOn(name, "/dev/vg0/web."+name)
		h.on("/dev/vg0/web."+name, name)
	}
	h.identities("web", "web01", "web02")
	h.on(h.pv, "2.0")
	h.devices("vg0-web snapshot-origin 0", "vg0-web-real linear 3",
		"vg0-web.web01 snapshot 1", "vg0-web.web01-cow linear 1", "vg0-web.web02 snapshot 1", "vg0-web.web02-cow linear 1")
	h.volumes("web owi-a-s---", "web.web01 swi-aos--- web", "web.web02 swi-aos--- web")
	if sets := h.table("ls", "web"); len(sets) != 2 {
		h.Errorf("sets are %v, want the two clones", sets)
	}
	h.cowhand("rm", "web01", "web02", "-y")
	h.guests("web shut off")
	h.on(h.pv, "2.0")
	h.devices("vg0-web linear 0")
	h.volumes("web -wi-a-----")
}
