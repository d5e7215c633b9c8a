package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"cowhand/dmcore"
)

// The child reports on this descriptor if the environment says so: otherwise
// it may be anything.
const (
	readyFD    = 3
	readyEnv   = "COWHAND_ENGINE_READY_FD"
	readyWord  = "ready\n"
	maxReport  = 64 << 10
	startTries = 3
	dyingTime  = 10 * time.Second // a killed process may take that long to be gone
)

// EnsureRunning connects to the engine of a run directory and starts one if
// there is none. However many do so at once, one engine runs. start gives the
// command, which must call [NotifyReady]; its ExtraFiles must be empty. It runs
// in a session of its own, writes to engine.log in the run directory, and
// outlives the caller; while the caller lives, a goroutine waits to reap it. If
// ctx ends before the engine is ready it is told to stop by SIGTERM.
func EnsureRunning(ctx context.Context, runDir string, start func() *exec.Cmd) (*Client, error) {
	c, err := reach(ctx, runDir)
	if !errors.Is(err, dmcore.ErrUnavailable) {
		return c, err
	}
	dir, err := runDirPath(runDir)
	if err != nil {
		return nil, err
	}
	if err := makeRunDir(dir); err != nil {
		return nil, err
	}
	unlock, err := lockFile(ctx, filepath.Join(dir, startLock))
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Another engine that is on its way down can take the place of the one we
	// start, and be gone when we dial: then once more.
	for range startTries {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if c, err = reach(ctx, dir); !errors.Is(err, dmcore.ErrUnavailable) {
			return c, err
		}
		startErr := startEngine(ctx, dir, start())
		if c, err = reach(ctx, dir); err == nil {
			return c, nil // started by us, or, with ErrRunning, by someone else
		}
		if startErr != nil && !errors.Is(startErr, ErrRunning) {
			return nil, startErr
		}
		if startErr != nil {
			waitGone(ctx, dir)
		}
	}
	return nil, err
}

// waitGone waits for the end of an engine that does not answer, and has the lock still:
// of a process that is killed the sockets may go some time before that.
func waitGone(ctx context.Context, dir string) {
	ctx, cancel := context.WithTimeout(ctx, dyingTime)
	defer cancel()
	if unlock, err := lockFile(ctx, filepath.Join(dir, engineLock)); err == nil {
		unlock()
	}
}

// reach connects to an engine that answers: one that is being killed may still
// accept connections.
func reach(ctx context.Context, dir string) (*Client, error) {
	c, err := Dial(dir)
	if err != nil {
		return nil, err
	}
	if _, err := c.Engine(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// startEngine returns when the child says that it is ready, or why it is not.
func startEngine(ctx context.Context, dir string, cmd *exec.Cmd) error {
	if len(cmd.ExtraFiles) > 0 {
		return fmt.Errorf("start engine: the command has extra files: %w", dmcore.ErrInvalid)
	}
	log, err := os.OpenFile(filepath.Join(dir, logName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, log, log
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d", readyEnv, readyFD))
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	err = cmd.Start()
	w.Close()
	if err != nil {
		return fmt.Errorf("start engine: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	defer context.AfterFunc(ctx, func() { r.SetReadDeadline(time.Now()) })()
	report, err := io.ReadAll(io.LimitReader(r, maxReport))
	switch {
	case string(report) == readyWord:
		return nil
	case ctx.Err() != nil:
		// Nobody waits for it any more. It has served nobody, or stops in order.
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		return fmt.Errorf("start engine: %w", context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("start engine: %w", err)
	case len(report) > 0:
		return fmt.Errorf("start engine: %w", parseReport(string(report)))
	}
	// It closed the pipe without a word: it died, or is no engine.
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	return fmt.Errorf("start engine: %s ended without a report (%v), see %s: %w",
		cmd.Path, err, log.Name(), dmcore.ErrUnavailable)
}

// reportRunning begins the report of an engine that found another.
const reportRunning = "running: "

func parseReport(s string) error {
	s = strings.TrimSpace(s)
	if text, ok := strings.CutPrefix(s, reportRunning); ok {
		return &remoteError{text, []error{ErrRunning}}
	}
	return &remoteError{s, []error{dmcore.ErrUnavailable}}
}

// NotifyReady tells the process that started this one with [EnsureRunning] that
// the engine serves (err is nil; see Config.Ready), or why it does not (what
// Serve returned). The first call tells; it does nothing in a process that was
// started otherwise.
func NotifyReady(err error) error {
	if os.Getenv(readyEnv) != fmt.Sprint(readyFD) {
		return nil
	}
	if err := os.Unsetenv(readyEnv); err != nil {
		return err
	}
	f := os.NewFile(readyFD, "ready")
	text := readyWord
	switch {
	case errors.Is(err, ErrRunning):
		text = reportRunning + err.Error() + "\n"
	case err != nil:
		text = err.Error() + "\n"
	}
	_, werr := f.WriteString(text)
	return errors.Join(werr, f.Close())
}

// StartWorker starts a command that is to be the engine in the place of this
// process, which keeps watch over it: the duty to call [NotifyReady], if this
// process has it, goes to the first worker.
func StartWorker(cmd *exec.Cmd) error {
	if os.Getenv(readyEnv) != fmt.Sprint(readyFD) {
		return cmd.Start()
	}
	f := os.NewFile(readyFD, "ready")
	cmd.ExtraFiles = []*os.File{f} // again descriptor 3
	if err := cmd.Start(); err != nil {
		return err
	}
	return errors.Join(os.Unsetenv(readyEnv), f.Close())
}

// Stop stops the engine of a run directory (see [Client.Shutdown]) and returns
// when it is gone.
func Stop(ctx context.Context, runDir string, force bool) error {
	dir, err := runDirPath(runDir)
	if err != nil {
		return err
	}
	c, err := Dial(dir)
	if err != nil {
		return err
	}
	defer c.Close()
	unlock, err := lockFile(ctx, filepath.Join(dir, startLock))
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.Shutdown(ctx, force); err != nil {
		return err
	}
	gone, err := lockFile(ctx, filepath.Join(dir, engineLock))
	if err != nil {
		return err
	}
	gone()
	return nil
}

// Socket is the unix socket on which the engine of a run directory serves NBD.
func Socket(runDir string) string {
	dir, err := filepath.Abs(runDir)
	if err != nil {
		dir = runDir
	}
	return filepath.Join(dir, nbdName)
}

// URI is where NBD clients find the volume "VG/LV" of a run directory's engine
// (doc/uri.md of the NBD project). QEMU and libnbd decode percent signs alone,
// so a space must not become a plus.
func URI(runDir, name string) string {
	socket := url.QueryEscape(Socket(runDir))
	socket = strings.NewReplacer("+", "%20", "%2F", "/").Replace(socket)
	return "nbd+unix://" + (&url.URL{Path: "/" + name}).EscapedPath() + "?socket=" + socket
}
