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
	guard, err := Start(context.Background(), g)
	fmt.Println("started", err)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case "begin":
			fmt.Println("begun", guard.Begin())
		case "done":
			fmt.Println("done", guard.Done(), guard.Done())
		}
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

// tell has the worker do something.
func (w *worker) tell(t *testing.T, what, want string) {
	t.Helper()
	if _, err := io.WriteString(w.in, what+"\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := w.out.ReadString('\n'); line != want+"\n" {
		t.Errorf("worker says %q, %v", line, err)
	}
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
	w.tell(t, "begin", "begun <nil>")
	w.tell(t, "done", "done <nil> <nil>")
	w.in.Close() // and the worker ends
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

// What is prepared may take its time: the clock runs from Begin on.
func TestPreparing(t *testing.T) {
	if err := listen(&script{said: []any{400 * time.Millisecond, byte(begin), byte(over)}}, 200*time.Millisecond); err != nil {
		t.Errorf("a worker that was long at preparing: %v", err)
	}
	if err := listen(&script{said: []any{byte(begin), time.Minute}}, time.Millisecond); err != ErrHung {
		t.Errorf("a worker that hangs: %v", err)
	}
	if err := listen(&script{}, time.Millisecond); err != ErrDied {
		t.Errorf("a worker that dies while it prepares: %v", err)
	}
}

// script is a worker's end of the pipe: bytes, and times in which nothing comes.
type script struct{ said []any }

func (s *script) Read(p []byte) (int, error) {
	for len(s.said) > 0 {
		next := s.said[0]
		s.said = s.said[1:]
		switch next := next.(type) {
		case byte:
			p[0] = next
			return 1, nil
		case time.Duration:
			time.Sleep(next)
		}
	}
	return 0, io.EOF
}

// A worker that stands still, here stopped, is killed when the time is up.
func TestWorkerHangs(t *testing.T) {
	w := start(t, "300ms")
	w.tell(t, "begin", "begun <nil>")
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
	if guard, err := Start(t.Context(), exec.Command("true")); err == nil {
		guard.Done()
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
		guard, err := Start(b.Context(), self("guardian", fmt.Sprintf("GUARDIAN_WORKER=%d", os.Getpid()), "GUARDIAN_LIMIT=1m"))
		if err != nil {
			b.Fatal(err)
		}
		if err := guard.Done(); err != nil {
			b.Fatal(err)
		}
	}
}
