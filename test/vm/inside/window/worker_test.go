package window

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"cowhand/lvm"
	"cowhand/test/vm/inside"
)

// order is what a worker is to do, and at which step what becomes of it.
const order = "WINDOW_ORDER" // "OPERATION STEP SIGNAL DISK"

func TestMain(m *testing.M) {
	if o := os.Getenv(order); o != "" {
		if err := work(strings.Fields(o)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	inside.Main(m)
}

const (
	group = "vg0"
	chunk = 8 // sectors
)

var web, snap = lvm.Ref{VG: group, LV: "web"}, lvm.Ref{VG: group, LV: "snap"}

// operations are the changes that suspend devices.
var operations = map[string]func(context.Context, *lvm.Engine) error{
	"snapshot": func(ctx context.Context, e *lvm.Engine) error {
		return e.Snapshot(ctx, []lvm.SnapshotRequest{{Origin: web, Name: snap.LV, Size: lvm.Size{Bytes: 8 << 20}, Chunk: chunk}})
	},
	"remove": func(ctx context.Context, e *lvm.Engine) error { return e.Remove(ctx, []lvm.Ref{snap}) },
}

// work carries out an operation, and at the step counted from 0 sends itself the
// signal. It tells each step on standard output.
func work(words []string) error {
	if len(words) != 4 {
		return fmt.Errorf("order %q", words)
	}
	at, err := strconv.Atoi(words[1])
	signal, err2 := strconv.Atoi(words[2])
	if err := errors.Join(err, err2); err != nil {
		return err
	}
	e := inside.Engine(words[3])
	n := 0
	e.Trace = func(step string) error {
		fmt.Println(step)
		if n == at { // to this very thread, which goes no further; another might be told first
			runtime.LockOSThread()
			unix.Tgkill(os.Getpid(), unix.Gettid(), unix.Signal(signal))
		}
		n++
		return nil
	}
	return operations[words[0]](context.Background(), e)
}
