// Package e2e runs the cowhand program on real guests of a real libvirt and kills what can be
// killed. What must be true after is read by other programs: lvm2's pvck, qemu-img and e2fsprogs.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cowhand/test/lab"
)

// program is the cowhand under test: the one COWHAND_PROGRAM names, or what the tree builds.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if program = os.Getenv("COWHAND_PROGRAM"); program != "" {
			return m.Run()
		}
		dir, err := os.MkdirTemp("", "cowhand-e2e-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "cowhand")
		build := exec.Command("go", "build", "-tags", "libvirt_dlopen,libvirt_without_lxc", "-o", program, "cowhand/cmd/cowhand")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go build: %v\n%s", err, out)
			return 1
		}
		return m.Run()
	}())
}

// bench is a rig with a group and a guest, web, whose disk is the volume herd/web.
type bench struct {
	*testing.T
	*lab.Rig
	ctx context.Context
}

const firstVersion = "v1"

// deadline is for one whole test, on a busy machine without KVM.
const deadline = 5 * time.Minute

func newBench(t *testing.T) *bench {
	return newBenchOn(t, []string{"lvcreate", "-L", "32M", "-n", "web", "herd"})
}

// newBenchOn is newBench with the volume made by those commands.
func newBenchOn(t *testing.T, volume ...[]string) *bench {
	lab.NeedGuest(t)
	lab.Need(t, "lvm")
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	rig, err := lab.OpenRig(ctx, lab.Dir(t), program, "", 512<<20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rig.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	b := &bench{t, rig, ctx}
	b.cowhand("lvm", "pvcreate", rig.PV)
	b.cowhand("lvm", "vgcreate", "herd", rig.PV)
	for _, args := range volume {
		b.cowhand(append([]string{"lvm"}, args...)...)
	}
	fs := filepath.Join(rig.Dir, "fs.img")
	if err := lab.Image(ctx, fs, 32, map[string]string{"version": firstVersion + "\n"}); err != nil {
		t.Fatal(err)
	}
	uri := strings.TrimSpace(b.cowhand("engine", "uri", "herd/web"))
	b.output("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", fs, uri)
	if err := rig.Define(ctx, "web", "herd/web"); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) cowhand(args ...string) string {
	b.Helper()
	return b.output("cowhand", args...)
}

func (b *bench) virsh(args ...string) string {
	b.Helper()
	return strings.TrimSpace(b.output("virsh", append([]string{"--quiet"}, args...)...))
}

func (b *bench) output(name string, args ...string) string {
	b.Helper()
	out, err := b.Output(b.ctx, name, args...)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// console is the serial line of a running guest, until the test ends.
func (b *bench) console(guest string) *lab.Console {
	b.Helper()
	c, err := lab.Attach(b.ctx, b.URI, guest)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Close(); err != nil {
			b.Error(err)
		}
	})
	return c
}

// ask sends a command to a guest and wants an answer.
func (b *bench) ask(c *lab.Console, command, want string) {
	b.Helper()
	got, err := c.Do(b.ctx, command, "version=")
	if err != nil {
		b.Fatal(err)
	}
	if got != want {
		b.Fatalf("guest, asked to %s: version=%s, want %s", command, got, want)
	}
}

// onVolume reads a file on a linear volume past cowhand.
func (b *bench) onVolume(lv, file string) string {
	b.Helper()
	at, err := lab.Where(b.ctx, b.PV, lv)
	if err != nil {
		b.Fatal(err)
	}
	content, err := lab.ReadFile(b.ctx, b.PV, at, file)
	if err != nil {
		b.Fatal(err)
	}
	return content
}

// generation is the metadata's, after lvm2 found it in order.
func (b *bench) generation() int {
	b.Helper()
	n, err := lab.Audit(b.ctx, b.PV)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// eventually waits for what tells nobody when it happens.
func (b *bench) eventually(what string, so func() bool) {
	b.Helper()
	if err := lab.Poll(b.ctx, func() (bool, error) { return so(), nil }); err != nil {
		b.Fatalf("waiting until %s: %v", what, err)
	}
}
