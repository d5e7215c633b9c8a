package window

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
	"cowhand/lvm"
	"cowhand/test/vm/inside"
	"cowhand/test/vm/inside/records"
)

// never is a step that no operation reaches.
const never = 1000

// lab is a group with a volume that somebody writes to.
type lab struct {
	*testing.T
	disk string
	e    *lvm.Engine
	w    *writer
}

func newLab(t *testing.T) *lab {
	disk := inside.Disks(t, 1)[0]
	l := &lab{T: t, disk: disk, e: inside.Engine(disk)}
	ctx := t.Context()
	if _, err := l.e.CreatePV(ctx, disk, lvm.PVOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.e.CreateVG(ctx, lvm.VGSpec{Name: group, PVs: []string{disk}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inside.Run(t, "vgremove", "-ff", "-y", group) })
	if _, err := l.e.Create(ctx, group, lvm.StripedSpec{LinearSpec: lvm.LinearSpec{Name: web.LV, Size: lvm.Size{Bytes: 16 << 20}}, Stripes: 1}, true); err != nil {
		t.Fatal(err)
	}
	l.w = startWriter(t, "/dev/vg0/web")
	l.w.goesOn()
	return l
}

// run has a worker carry out an operation, which gets the signal at a step. It
// returns the steps it told, and what the guardian said, when both are gone.
func (l *lab) run(op string, at int, signal unix.Signal) (steps []string, said string) {
	l.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d %s", order, op, at, signal, l.disk))
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.Fatal(err)
	}
	heard, theirs, err := os.Pipe()
	if err != nil {
		l.Fatal(err)
	}
	defer heard.Close()
	cmd.Stderr = theirs
	if err := cmd.Start(); err != nil {
		l.Fatal(err)
	}
	theirs.Close()
	for s := bufio.NewScanner(out); s.Scan(); {
		steps = append(steps, s.Text())
	}
	text, err := io.ReadAll(heard) // ends when worker and guardian have
	if err != nil {
		l.Fatal(err)
	}
	err = cmd.Wait()
	var exit *exec.ExitError
	if at == never && err != nil || at != never && (!errors.As(err, &exit) || !exit.Sys().(interface{ Signaled() bool }).Signaled()) {
		l.Fatalf("%s, %v at step %d: worker ended with %v: %s", op, signal, at, err, text)
	}
	return steps, string(text)
}

// snapshotted tells whether the snapshot is recorded, and fails the test if the
// devices are not as the metadata says.
func (l *lab) snapshotted() bool {
	l.Helper()
	ctx := l.Context()
	left, err := l.e.Unsettled(ctx, func(lvm.ID) bool { return true })
	if err != nil {
		l.Fatal(err)
	}
	for _, i := range left {
		l.Errorf("device %s: suspended %v, a table waits %v", i.Name, i.Suspended, i.Inactive)
	}
	vg, err := l.e.Group(ctx, group)
	if err != nil {
		l.Fatal(err)
	}
	table, err := l.e.DM.Table(ctx, dmcore.BuildUUID(string(vg.ID), string(vg.LV(web.LV).ID), ""))
	if err != nil || len(table) != 1 {
		l.Fatalf("table of the origin: %v, %v", table, err)
	}
	recorded := vg.LV(snap.LV) != nil
	if kind := table[0].Target.Type(); recorded != (kind == "snapshot-origin") {
		l.Errorf("the snapshot is recorded: %v, and the origin is %s", recorded, kind)
	}
	return recorded
}

// reset makes the group as it was, with the snapshot or without.
func (l *lab) reset(with bool) {
	l.Helper()
	if _, err := l.e.Recover(l.Context()); err != nil {
		l.Fatal(err)
	}
	op := operations["remove"]
	if with {
		op = operations["snapshot"]
	}
	if l.snapshotted() != with {
		if err := op(l.Context(), l.e); err != nil {
			l.Fatal(err)
		}
	}
}

// At every step from the suspension of the first device to the end, a worker
// dies. Before, nothing needs a guardian.
func TestWindowSurvivesDeath(t *testing.T) {
	for _, op := range []string{"snapshot", "remove"} {
		t.Run(op, func(t *testing.T) {
			l := newLab(t)
			l.reset(op == "remove")
			steps, _ := l.run(op, never, 0)
			first := -1
			for i, s := range steps {
				if strings.HasPrefix(s, "dm: suspend") && first < 0 {
					first = i
				}
			}
			if first < 0 {
				t.Fatalf("nothing is suspended: %q", steps)
			}
			committed := map[bool]int{}
			for at := first; at < len(steps); at++ {
				l.reset(op == "remove")
				before := l.w.acked.Load()
				_, said := l.run(op, at, unix.SIGKILL)
				l.w.goesOn()
				has := l.snapshotted()
				committed[has == (op == "snapshot")]++
				t.Logf("died before %q: committed %v; %s", steps[at], has == (op == "snapshot"), strings.TrimSpace(said))
				if has && op == "snapshot" {
					n, err := records.Newest("/dev/vg0/snap")
					if err != nil {
						t.Error(err)
					}
					if now := l.w.acked.Load(); n < before || n > now {
						t.Errorf("the snapshot ends with record %d, want one from %d to %d", n, before, now)
					}
				}
				if t.Failed() {
					return
				}
			}
			if committed[false] == 0 || committed[true] == 0 {
				t.Errorf("died before the commit %d times, after it %d times: want both", committed[false], committed[true])
			}
		})
	}
}

// A worker that stands still with everything suspended is killed when its time
// is up.
func TestWindowSurvivesHanging(t *testing.T) {
	if testing.Short() {
		t.Skip("long: waits for the guardian's limit")
	}
	l := newLab(t)
	steps, _ := l.run("snapshot", never, 0)
	at := -1
	for i, s := range steps {
		if strings.HasSuffix(s, ": commit") {
			at = i
		}
	}
	if at < 0 {
		t.Fatalf("no commit: %q", steps)
	}
	l.reset(false)
	_, said := l.run("snapshot", at, unix.SIGSTOP)
	l.w.goesOn()
	if l.snapshotted() {
		t.Error("the snapshot is recorded, although the worker stood still before the commit")
	}
	t.Log(said)
}
