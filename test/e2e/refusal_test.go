package e2e

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"cowhand/test/lab"
)

// What cannot be done is refused before anything is touched: exit code 3, the reason, the same
// metadata and the same guests as before.
func TestRefusals(t *testing.T) {
	b := newBench(t)
	on := b.Dir + "/plain.xml"
	plain := lab.Domain{Name: "plain", Boot: b.Boot, Source: b.PV}.XML()
	if err := os.WriteFile(on, []byte(plain), 0o644); err != nil {
		t.Fatal(err)
	}
	b.virsh("define", on)
	b.cowhand("snapshot", "web", "--set", "there")
	b.cowhand("lvm", "lvcreate", "-l", "100%FREE", "-n", "filler", "herd")
	before, guests := b.generation(), b.virsh("list", "--all", "--uuid")

	for _, c := range []struct{ command, reason string }{
		{"try nobody", "nobody"},
		{"try plain", "vda"},
		{"snapshot web --set there", "there"},
		{"keep web -y", "no guest or set of that name has a trial"},
		{"rollback web elsewhere -y", "elsewhere"},
		{"clone web web", "web"},
		{"try web", "not enough free extents"},
	} {
		t.Run(c.command, func(t *testing.T) {
			cmd := b.Command(b.ctx, "cowhand", strings.Fields(c.command)...)
			out, err := cmd.CombinedOutput()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 3 {
				t.Errorf("it ends with %v, want exit code 3", err)
			}
			if said := string(out); !strings.Contains(said, c.reason) || !strings.Contains(strings.ToLower(said), "nothing was changed") {
				t.Errorf("it says %q, and not why (%s) and that nothing was changed", said, c.reason)
			}
		})
	}
	if now := b.generation(); now != before {
		t.Errorf("metadata generation is %d, was %d", now, before)
	}
	if now := b.virsh("list", "--all", "--uuid"); now != guests {
		t.Errorf("guests are\n%s\nwere\n%s", now, guests)
	}
}
