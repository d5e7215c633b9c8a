package engine

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"cowhand/dmcore"
)

// ErrRunning says that another engine serves the run directory.
var ErrRunning = errors.New("an engine is running")

// ErrState says that what an engine remembered cannot be read.
var ErrState = errors.New("the engine's memory cannot be read")

// A code stands on the wire for an error that callers decide by.
var codes = [...]struct {
	code string
	err  error
}{
	{"not-found", dmcore.ErrNotFound},
	{"exists", dmcore.ErrExists},
	{"busy", dmcore.ErrBusy},
	{"invalid", dmcore.ErrInvalid},
	{"not-supported", dmcore.ErrNotSupported},
	{"io", dmcore.ErrIO},
	{"read-only", dmcore.ErrReadOnly},
	{"unavailable", dmcore.ErrUnavailable},
	{"canceled", context.Canceled},
	{"deadline", context.DeadlineExceeded},
	{"no-file", fs.ErrNotExist},
	{"permission", fs.ErrPermission},
	{"no-space", syscall.ENOSPC},
}

// wireError is an error on its way to the client: all codes it matches, so that
// errors.Is answers there as it does here, and its text.
type wireError struct {
	Codes []string    `json:"codes,omitempty"`
	Text  string      `json:"text"`
	DM    bool        `json:"dm,omitempty"`   // Text is of the cause of a dmcore.Error, whose name is:
	Name  dmcore.Name `json:"name,omitempty"` //
}

func toWire(err error) *wireError {
	w := &wireError{Text: err.Error()}
	if e, ok := err.(*dmcore.Error); ok {
		w.DM, w.Name, w.Text = true, e.Name, e.Err.Error()
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			w.Codes = append(w.Codes, c.code)
		}
	}
	return w
}

// remoteError is an error that came over the wire.
type remoteError struct {
	text   string
	causes []error
}

func (e *remoteError) Error() string   { return e.text }
func (e *remoteError) Unwrap() []error { return e.causes }

// err undoes toWire for a request that asked for cmd.
func (w *wireError) err(cmd string) error {
	e := &remoteError{text: w.Text}
	for _, have := range w.Codes {
		for _, c := range codes {
			if c.code == have {
				e.causes = append(e.causes, c.err)
			}
		}
	}
	var c dmcore.Command
	if w.DM && c.UnmarshalText([]byte(cmd)) == nil {
		return &dmcore.Error{Cmd: c, Name: w.Name, Err: e}
	}
	return e
}
