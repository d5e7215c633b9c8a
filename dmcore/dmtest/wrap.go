package dmtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"cowhand/dmcore"
)

// Trace returns a Control that passes commands on to ctl and writes a line for
// each that changes something, in words that do not depend on device numbers'
// being unused before: command, name or UUID, table, and the error if there was
// one.
func Trace(ctl dmcore.Control, w io.Writer) dmcore.Control {
	var mu sync.Mutex
	return dmcore.ControlFunc(func(ctx context.Context, cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
		r, err := ctl.Do(ctx, cmd, req)
		if cmd.Changes() {
			mu.Lock()
			defer mu.Unlock()
			if _, werr := io.WriteString(w, line(cmd, req, err)); werr != nil {
				return r, errors.Join(err, fmt.Errorf("trace: %w", werr))
			}
		}
		return r, err
	})
}

func line(cmd dmcore.Command, req *dmcore.Request, err error) string {
	words := []string{cmd.String()}
	if req.UUID != "" {
		words = append(words, string(req.UUID))
	}
	if req.Name != "" {
		words = append(words, string(req.Name))
	}
	if req.NewName != "" {
		words = append(words, "to "+string(req.NewName))
	}
	if req.NewUUID != "" {
		words = append(words, "to "+string(req.NewUUID))
	}
	if req.ReadOnly {
		words = append(words, "read-only")
	}
	if len(req.Table) > 0 {
		words = append(words, "["+strings.ReplaceAll(req.Table.String(), "\n", "; ")+"]")
	}
	if req.Text != "" {
		words = append(words, req.Text)
	}
	if err != nil {
		words = append(words, "= "+err.Error())
	}
	return strings.Join(words, " ") + "\n"
}

// FailAt returns a Control whose n-th command that changes something, counted
// from 1, is not carried out and fails with err.
func FailAt(ctl dmcore.Control, n int, err error) dmcore.Control {
	return count(ctl, func(k int) error {
		if k == n {
			return err
		}
		return nil
	})
}

// ErrStopped is what every command gives after StopAt stopped.
var ErrStopped = errors.New("stopped by the test")

// StopAt returns a Control that carries out nothing from the n-th command that
// changes something on, not even queries: the caller is dead from there.
func StopAt(ctl dmcore.Control, n int) dmcore.Control {
	var mu sync.Mutex
	stopped := false
	inner := count(ctl, func(k int) error {
		if k < n {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		return ErrStopped
	})
	return dmcore.ControlFunc(func(ctx context.Context, cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
		mu.Lock()
		dead := stopped
		mu.Unlock()
		if dead {
			return nil, &dmcore.Error{Cmd: cmd, Name: req.Name, Err: ErrStopped}
		}
		return inner.Do(ctx, cmd, req)
	})
}

// count calls f with the number of each command that changes something; its
// error is the command's.
func count(ctl dmcore.Control, f func(k int) error) dmcore.Control {
	var mu sync.Mutex
	k := 0
	return dmcore.ControlFunc(func(ctx context.Context, cmd dmcore.Command, req *dmcore.Request) (*dmcore.Reply, error) {
		if cmd.Changes() {
			mu.Lock()
			k++
			err := f(k)
			mu.Unlock()
			if err != nil {
				return nil, &dmcore.Error{Cmd: cmd, Name: req.Name, Err: err}
			}
		}
		return ctl.Do(ctx, cmd, req)
	})
}
