package guardian

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test program is worker and guardian as well, told by its environment.
func TestMain(m *testing.M) {
	switch os.Getenv("GUARDIAN_TEST") {
	case "worker":
		work()
	case "guardian":
		guard()
	default:
		os.Exit(m.Run())
	}
}

func self(role string, env ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), append(env, "GUARDIAN_TEST="+role)...)
	return cmd
}

// work starts a guardian that reports on standard error, says so, and obeys.
func work() {
	g := self("guardian", fmt.Sprintf("GUARDIAN_WORKER=%d", os.Getpid()))
	g.Stderr = os.Stderr
	done, err := Start(context.Background(), g)
	fmt.Println("started", err)
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if line == "done\n" {
		fmt.Println("done", done(), done())
	}
}

func guard() {
	worker, err := strconv.Atoi(os.Getenv("GUARDIAN_WORKER"))
	limit, err2 := time.ParseDuration(os.Getenv("GUARDIAN_LIMIT"))
	if err := errors.Join(err, err2); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "guardian:", Watch(worker, os.Stdin, os.Stdout, limit))
}

// worker is a running worker whose guardian is armed.
type worker struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	err *bufio.Reader // the guardian's report; ends when both are gone
}

func start(t *testing.T, limit string) *worker {
	t.Helper()
	w := &worker{Cmd: self("worker", "GUARDIAN_LIMIT="+limit)}
	var err error
	if w.in, err = w.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := w.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stderr.Close() })
	w.Stderr = theirs
	w.out, w.err = bufio.NewReader(out), bufio.NewReader(stderr)
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	t.Cleanup(func() { w.Process.Kill(); w.Wait() })
	line, err := w.out.ReadString('\n')
	if strings.Contains(line, "lock memory") && os.Geteuid() != 0 {
		t.Skip("locking memory needs root here: ", line)
	}
	if line != "started <nil>\n" {
		t.Fatalf("worker says %q, %v", line, err)
	}
	return w
}

func (w *worker) report(t *testing.T) string {
	t.Helper()
	all, err := io.ReadAll(w.err)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(all))
}

func TestDone(t *testing.T) {
	w := start(t, "1m")
	if _, err := io.WriteString(w.in, "done\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := w.out.ReadString('\n'); line != "done <nil> <nil>\n" {
		t.Errorf("worker says %q, %v", line, err)
	}
	if got := w.report(t); got != "guardian: <nil>" {
		t.Errorf("report %q", got)
	}
}

func TestWorkerDies(t *testing.T) {
	w := start(t, "1m")
	if err := w.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := w.report(t); got != "guardian: "+ErrDied.Error() {
		t.Errorf("report %q", got)
	}
}

// A worker that stands still, here stopped, is killed when the time is up.
func TestWorkerHangs(t *testing.T) {
	w := start(t, "300ms")
	if err := w.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if got := w.report(t); got != "guardian: "+ErrHung.Error() {
		t.Errorf("report %q", got)
	}
	var exit *exec.ExitError
	if err := w.Wait(); !errors.As(err, &exit) || exit.Sys().(interface{ Signal() unix.Signal }).Signal() != unix.SIGKILL {
		t.Errorf("worker ended with %v, want killed", err)
	}
}

func TestNotItsWorker(t *testing.T) {
	if err := Watch(1, os.Stdin, os.Stdout, time.Second); !errors.Is(err, unix.ESRCH) {
		t.Errorf("watching a process that did not start it: %v", err)
	}
}

func TestNoGuardian(t *testing.T) {
	if done, err := Start(t.Context(), exec.Command("true")); err == nil {
		done()
		t.Error("a program that is no guardian was taken for one")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, exec.Command("sleep", "60")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a guardian that says nothing ends with %v", err)
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		done, err := Start(b.Context(), self("guardian", fmt.Sprintf("GUARDIAN_WORKER=%d", os.Getpid()), "GUARDIAN_LIMIT=1m"))
		if err != nil {
			b.Fatal(err)
		}
		if err := done(); err != nil {
			b.Fatal(err)
		}
	}
}
