package dmcore

import (
	"context"
	"fmt"
)

// Control carries out device-mapper commands. It is to [Client] what
// http.RoundTripper is to http.Client: the kernel and the userspace machine
// implement it, and tracing, fault injection and crash tests are wrappers
// around either. Do is safe for concurrent use. Errors are of type *[Error].
type Control interface {
	Do(ctx context.Context, cmd Command, req *Request) (*Reply, error)
}

// ControlFunc is a function that is a Control.
type ControlFunc func(ctx context.Context, cmd Command, req *Request) (*Reply, error)

// Do calls f.
func (f ControlFunc) Do(ctx context.Context, cmd Command, req *Request) (*Reply, error) {
	return f(ctx, cmd, req)
}

// Command is what a Control is asked to do.
type Command int

// The commands, after the ioctls of include/uapi/linux/dm-ioctl.h. Beside each
// stands what it reads of the Request and fills of the Reply. All but Version,
// List and Settle act on the device that Request.UUID names or, if that is empty,
// Request.Name, and fill Reply.Info.
const (
	Version        Command = iota // → Version
	List                          // → Devices
	Create                        // Name, UUID: a device without a table
	Remove                        // ErrBusy while open or under another table, unless Deferred
	Rename                        // NewName, or NewUUID for a device that has no UUID yet
	Load                          // Table, ReadOnly: into the inactive slot
	Clear                         // empties the inactive slot
	Suspend                       // NoFlush, SkipLockFS; a no-op on a suspended device
	Resume                        // swaps the inactive table in, if there is one
	Status                        // Info alone
	Deps                          // → Devs, of the live table (Inactive: of the inactive one)
	TableOf                       // → Table, live or (Inactive) inactive
	TargetStatusOf                // → Targets, of the live table
	Message                       // Sector, Text → Text
	Wait                          // blocks until Info.EventNr differs from EventNr → Targets
	Settle                        // waits until the names of what was changed are in the file system
)

var commandNames = [...]string{"version", "list", "create", "remove", "rename", "load", "clear", "suspend",
	"resume", "info", "deps", "table", "status", "message", "wait", "settle"}

func (c Command) String() string {
	if c < 0 || int(c) >= len(commandNames) {
		return fmt.Sprintf("Command(%d)", int(c))
	}
	return commandNames[c]
}

// MarshalText names the command.
func (c Command) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads a command's name.
func (c *Command) UnmarshalText(b []byte) error {
	for i, n := range commandNames {
		if n == string(b) {
			*c = Command(i)
			return nil
		}
	}
	return fmt.Errorf("command %q: %w", b, ErrNotSupported)
}

// Changes reports whether the command can change the state of a device.
func (c Command) Changes() bool {
	switch c {
	case Create, Remove, Rename, Load, Clear, Suspend, Resume, Message:
		return true
	}
	return false
}

// Request is what a command needs; see the list of commands.
type Request struct {
	Name       Name    `json:"name,omitempty"`
	UUID       UUID    `json:"uuid,omitempty"`
	NewName    Name    `json:"newName,omitempty"`
	NewUUID    UUID    `json:"newUUID,omitempty"`
	Table      Table   `json:"table,omitempty"`
	ReadOnly   bool    `json:"readOnly,omitempty"`
	NoFlush    bool    `json:"noFlush,omitempty"`
	SkipLockFS bool    `json:"skipLockFS,omitempty"`
	Deferred   bool    `json:"deferred,omitempty"`
	Inactive   bool    `json:"inactive,omitempty"`
	EventNr    uint32  `json:"eventNr,omitempty"`
	Minor      *uint32 `json:"minor,omitempty"` // of Create: the number it must have; the kernel's alone have such
	Sector     Sectors `json:"sector,omitempty"`
	Text       string  `json:"text,omitempty"`
}

// Reply is what a command tells.
type Reply struct {
	Info    Info           `json:"info"`
	Version string         `json:"version,omitempty"`
	Devices []Info         `json:"devices,omitempty"`
	Devs    []Dev          `json:"devs,omitempty"`
	Table   Table          `json:"table,omitempty"`
	Targets []TargetStatus `json:"targets,omitempty"`
	Text    string         `json:"text,omitempty"`
}

// Info is the state of a device.
type Info struct {
	Name           Name   `json:"name"`
	UUID           UUID   `json:"uuid,omitempty"`
	Dev            DevNo  `json:"dev"`
	OpenCount      int    `json:"openCount"`
	EventNr        uint32 `json:"eventNr"`
	Suspended      bool   `json:"suspended,omitempty"`
	Live           bool   `json:"live,omitempty"`     // has a live table
	Inactive       bool   `json:"inactive,omitempty"` // has an inactive table
	ReadOnly       bool   `json:"readOnly,omitempty"`
	DeferredRemove bool   `json:"deferredRemove,omitempty"`
}
