package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Commands run side by side, and their ends come over as they were.
func TestCommands(t *testing.T) {
	m := Boot(t, Config{})
	ctx := t.Context()

	var failed *ExitError
	if out, err := m.Run(ctx, "sh", "-c", "echo out; echo err >&2; exit 3"); !errors.As(err, &failed) ||
		failed.Status != 3 || out != "out\nerr\n" {
		t.Errorf("exit 3: %q, %v", out, err)
	}
	if _, err := m.Run(ctx, "/no/such/program"); err == nil || errors.As(err, &failed) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no such program: %v", err)
	}
	const big = 3_000_000
	if out, err := m.do(ctx, nil, []string{"head", "-c", fmt.Sprint(big), "/dev/zero"}); err != nil || len(out) != big {
		t.Errorf("%d bytes of output: %d, %v", big, len(out), err)
	}

	p, err := m.Go("sh", "-c", "echo begun; sleep 1000")
	if err != nil {
		t.Fatal(err)
	}
	for p.Output() != "begun\n" { // while others run
		m.Must("true")
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			want := fmt.Sprintln(i)
			if out, err := m.do(ctx, nil, []string{"echo", fmt.Sprint(i)}); err != nil || out != want {
				t.Errorf("echo %d, one of several: %q, %v", i, out, err)
			}
		})
	}
	group.Wait()
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(ctx); !errors.As(err, &failed) || failed.Status != 128+int(syscall.SIGTERM) {
		t.Errorf("SIGTERM: %v", err)
	}

	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := m.Run(short, "sleep", "1000"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a deadline: %v, want %v", err, context.DeadlineExceeded)
	}
	if out, err := m.Run(ctx, "pgrep", "sleep"); err == nil {
		t.Errorf("after the deadline the program is still there: %s", out)
	}
}

func TestUnframed(t *testing.T) {
	var out bytes.Buffer
	u := unframed{w: &out}
	for _, part := range []string{"=== RUN   TestX\n    x_test.go:1: one", " and\n    two", "\n--- PASS: TestX (0.00s)\n", "PASS\n"} {
		if _, err := u.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := out.String(), "    x_test.go:1: one and\n    two\n"; got != want {
		t.Errorf("unframed: %q, want %q", got, want)
	}
}
