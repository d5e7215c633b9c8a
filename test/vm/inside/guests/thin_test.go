package guests

import (
	"fmt"
	"testing"
)

// The same jobs with a guest in a thin pool that lvm2 made: its snapshots are thin,
// and lvm2 finds everything in order after each.
func TestSlowThinGuest(t *testing.T) {
	if testing.Short() {
		t.Skip("long: 120 s")
	}
	h := newHerdOn(t, "1.0", []string{"lvcreate", "-y", "-T", "-L", "80M", "vg0/pool"},
		[]string{"lvcreate", "-y", "-V", fmt.Sprintf("%dM", webMiB), "-T", "vg0/pool", "-n", "web"})
	h.virsh("start", "web")
	h.ask("web", "version", "1.0")
	h.inPool("web Vwi-aotz--")

	h.cowhand("snapshot", "web", "--set", "before", "--thin")
	h.inPool("web Vwi-aotz--", "web.before Vwi---tz-k web")
	h.ask("web", "write a-slip", "a-slip")
	h.on(web, "a-slip")
	h.cowhand("rollback", "web", "before", "-y")
	h.ask("web", "version", "1.0")
	h.on(web, "1.0")
	h.inPool("web Vwi-aotz--")

	h.cowhand("try", "web", "--set", "try")
	h.runsOn("web-try", "/dev/vg0/web.try")
	h.ask("web-try", "write 2.0", "2.0")
	h.on("/dev/vg0/web.try", "2.0")
	h.on(web, "1.0")
	h.inPool("web Vwi-a-tz--", "web.try Vwi-aotz-- web")
	h.row([]string{"show", "try"}, map[string]any{"origin": "vg0/web", "snapshot": "vg0/web.try", "open": 1, "state": "active"})
	h.cowhand("keep", "web", "-y")
	h.guests("web running")
	h.ask("web", "version", "2.0")
	h.on(web, "2.0")
	h.inPool("web Vwi-aotz--")

	h.virsh("destroy", "web")
	h.cowhand("clone", "web", "--count", "2", "--name", "web%02d", "--thin")
	for _, name := range []string{"web01", "web02"} {
		h.ask(name, "write "+name, name)
		h.on("/dev/vg0/web."+name, name)
	}
	h.on(web, "2.0")
	h.inPool("web Vwi-a-tz--", "web.web01 Vwi-aotz-- web", "web.web02 Vwi-aotz-- web")
	h.cowhand("rm", "web01", "web02", "-y")
	h.guests("web shut off")
	h.on(web, "2.0")
	h.inPool("web Vwi-a-tz--")
}

// inPool wants these volumes beside the pool and its parts.
func (h *herd) inPool(want ...string) {
	h.Helper()
	h.volumes(append([]string{"[lvol0_pmspare] ewi-------", "pool twi-aotz--", "[pool_tdata] Twi-ao----", "[pool_tmeta] ewi-ao----"}, want...)...)
}
