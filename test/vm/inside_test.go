package vm

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"cowhand/test/vm/inside"
)

// Every scenario of the folder inside, each in the VM that it shares with those before it.
func TestInside(t *testing.T) {
	Need(t)
	b, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	tests, broken, err := b.scenarios()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range slices.Sorted(maps.Keys(broken)) {
		t.Run(name, func(t *testing.T) { t.Fatal(broken[name]) })
	}
	var withUdev, without []scenario
	for _, program := range slices.Sorted(maps.Keys(tests)) {
		for _, name := range tests[program] {
			if strings.HasPrefix(name, "TestNoUdev") {
				without = append(without, scenario{program, name})
			} else {
				withUdev = append(withUdev, scenario{program, name})
			}
		}
	}
	ran := runInside(t, withUdev, Config{Disks: insideDisks()})
	ran += runInside(t, without, Config{Disks: insideDisks(), NoUdev: true})
	if ran == 0 {
		t.Skip("no scenario inside the VM is selected")
	}
}

// scenario is one test of one program in inside.Bin.
type scenario struct{ program, name string }

func insideDisks() []Disk {
	var disks []Disk
	for range inside.DiskCount {
		disks = append(disks, Disk{MiB: inside.DiskMiB})
	}
	return disks
}

// runInside runs scenarios one after the other and returns how many are selected. The VM is booted for
// the first of them, and anew after one that failed.
func runInside(t *testing.T, scenarios []scenario, c Config) (ran int) {
	var shared *Machine
	off := func() {
		if shared != nil {
			shared.close()
			shared = nil
		}
	}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			ran++
			if shared == nil {
				shared = boot(t, c)
			}
			shared.t = t
			defer func() { // also when the scenario ends this test
				if t.Failed() {
					off()
				}
			}()
			runScenario(t, shared, s)
		})
	}
	off()
	return ran
}

// outputSlack is how much longer than a scenario's own deadline the host waits for its end.
const outputSlack = 20 * time.Second

func runScenario(t *testing.T, m *Machine, s scenario) {
	deadline := inside.Deadline(s.name)
	ctx, cancel := context.WithTimeout(t.Context(), deadline+outputSlack)
	defer cancel()
	argv := []string{
		inside.Bin + "/" + s.program, "-test.v", "-test.run", "^" + s.name + "$", "-test.timeout", deadline.String(),
	}
	if testing.Short() {
		argv = append(argv, "-test.short")
	}
	out, err := m.do(ctx, &unframed{w: t.Output()}, argv)
	switch {
	case err != nil:
		var failed *ExitError
		if errors.As(err, &failed) { // its output was shown already
			t.Fatalf("%s in the VM: exit status %d", s.name, failed.Status)
		}
		t.Fatal(err)
	case strings.Contains(out, "--- SKIP: "+s.name+" "):
		t.SkipNow()
	case !strings.Contains(out, "--- PASS: "+s.name+" "):
		t.Fatalf("%s in the VM: neither passed nor failed", s.name)
	}
}

// unframed passes on a test's output without the lines that frame it, which the outer test has too.
type unframed struct {
	w    io.Writer
	line []byte
}

func (u *unframed) Write(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		u.line = append(u.line, line...)
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		if !framing(string(u.line)) {
			if _, err := u.w.Write(u.line); err != nil {
				return 0, err
			}
		}
		u.line = u.line[:0]
	}
	return len(b), nil
}

func framing(line string) bool {
	for _, p := range []string{"=== RUN ", "=== NAME ", "=== CONT ", "=== PAUSE ", "--- PASS: ", "PASS\n", "FAIL\n"} {
		if strings.HasPrefix(line, p) {
			return true
		}
	}
	return false
}
