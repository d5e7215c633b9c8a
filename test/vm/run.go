package vm

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"cowhand/test/vm/wire"
)

// Run runs a program in the machine, waits for its end and returns all that it said. Another exit
// status than 0 is an [*ExitError]. It is killed when ctx ends, or after some minutes.
func (m *Machine) Run(ctx context.Context, argv ...string) (string, error) {
	begun := time.Now()
	out, err := m.do(ctx, nil, argv)
	m.t.Logf("+ %s  (%.1f s)\n%s", strings.Join(argv, " "), time.Since(begun).Seconds(), out)
	return out, err
}

// Must is Run for a test that ends when the program fails.
func (m *Machine) Must(argv ...string) string {
	m.t.Helper()
	out, err := m.Run(m.t.Context(), argv...)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// Go starts a program in the background. It ends with the machine at the latest.
func (m *Machine) Go(argv ...string) (*Process, error) { return m.begin(nil, argv) }

func (m *Machine) do(ctx context.Context, tee io.Writer, argv []string) (string, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, runDeadline)
		defer cancel()
	}
	begun := time.Now()
	p, err := m.begin(tee, argv)
	if err != nil {
		return "", err
	}
	out, err := p.Wait(ctx)
	m.note(begun, argv, out, err)
	if ctx.Err() != nil {
		m.stuck()
	}
	return out, err
}

func (m *Machine) begin(tee io.Writer, argv []string) (*Process, error) {
	if m.power == nil {
		return nil, fmt.Errorf("vm: %s: %w: it is off", strings.Join(argv, " "), ErrGone)
	}
	return m.power.start(wire.Command{Argv: argv}, tee)
}

// note keeps what was run and said, for the logs of a test that fails.
func (m *Machine) note(begun time.Time, argv []string, out string, err error) {
	f, openErr := os.OpenFile(filepath.Join(m.dir, "commands.log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if openErr != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "+ %s\n%s", strings.Join(argv, " "), out)
	fmt.Fprintf(f, "  %.2f s, %v\n", time.Since(begun).Seconds(), err)
}

// stuck has the kernel say on the console what waits for what, after a deadline passed.
func (m *Machine) stuck() {
	if p, err := m.begin(nil, []string{"sh", "-c", "echo w >/proc/sysrq-trigger; dmsetup info -c; dmesg | tail -n 100"}); err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), endDeadline)
		defer cancel()
		out, err := p.Wait(ctx)
		m.note(time.Now(), []string{"(what is stuck)"}, out, err)
	}
}
