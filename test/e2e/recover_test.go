package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// cowhand keep is killed as it says that it begins a step. After cowhand recover, the trial is kept
// or can still be kept, and the guest holds the patch and nothing else.
func TestKeepKilledIsRecovered(t *testing.T) {
	b := newBench(t)
	for i, step := range []int{1, 2, 5} {
		patch := fmt.Sprintf("patch-%d", i)
		b.cowhand("try", "web", "--set", "try")
		b.ask(b.console("web-try"), "write "+patch, patch)
		b.killAtStep(step, "keep", "web", "-y")

		b.cowhand("recover")
		if left := b.cowhand("-o", "name", "recover", "--list"); strings.TrimSpace(left) != "" {
			t.Fatalf("step %d: after recover there is still %s", step, left)
		}
		kept := strings.TrimSpace(b.cowhand("-o", "name", "ls")) == ""
		t.Logf("killed at step %d: after recover, kept is %v", step, kept)
		if !kept {
			b.cowhand("keep", "web", "-y")
		}
		if state := b.virsh("domstate", "web"); state == "shut off" {
			b.virsh("start", "web")
		}
		b.ask(b.console("web"), "version", patch)
		if got := b.onVolume("web", "version"); got != patch+"\n" {
			t.Fatalf("step %d: the volume says %q, want %q", step, got, patch)
		}
		if names := strings.Fields(b.virsh("list", "--all", "--name")); len(names) != 1 {
			t.Fatalf("step %d: guests are %q, want web alone", step, names)
		}
		b.generation()
	}
}

// killAtStep runs cowhand and kills it when it says that it begins the step.
func (b *bench) killAtStep(step int, args ...string) {
	b.Helper()
	cmd := b.Command(b.ctx, "cowhand", args...)
	out, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	var said bytes.Buffer
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	killed := false
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(strings.TrimSpace(lines.Text()), fmt.Sprintf("[%d/", step)) && !killed {
			killed = true
			if err := cmd.Process.Kill(); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); !killed {
		b.Fatalf("cowhand %s never came to step %d (%v):\n%s", strings.Join(args, " "), step, err, &said)
	}
}
