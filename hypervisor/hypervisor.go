package hypervisor

import (
	"context"
	"fmt"
	"io"
)

// Hypervisor is a host's guests. Errors are of type [*Error] and match one of
// the sentinels of this package where a decision can hang on it.
type Hypervisor interface {
	// Guests returns all guests, running or not, sorted by name.
	Guests(ctx context.Context) ([]Guest, error)

	// Guest returns the guest of that name, or [ErrNotFound].
	Guest(ctx context.Context, name string) (Guest, error)

	// Define makes a guest known, or changes one whose name and UUID both
	// match. A name or a UUID that belongs to another guest is [ErrExists].
	// A running guest keeps running on its old definition until it is off.
	Define(ctx context.Context, xml string) (Guest, error)

	// Version is that of the hypervisor's own software; see
	// [ReconnectSupported].
	Version(ctx context.Context) (Version, error)

	// URI tells which hypervisor this is, in libvirt's notation.
	URI() string

	// Close lets go of the connection. It is idempotent; guests stay as they
	// are.
	io.Closer
}

// Guest is one domain. It is a reference: another process may start, stop or
// undefine it at any time, after which methods return [ErrNotFound].
type Guest interface {
	Name() string

	// UUID is in the canonical text form, lower case with dashes.
	UUID() string

	State(ctx context.Context) (State, error)

	// Persistent tells that the guest has a definition that outlives its
	// run. One that has none is gone for good once it is off.
	Persistent(ctx context.Context) (bool, error)

	// XML is the persistent definition: what the next Start uses, without
	// the parts that exist only while the guest runs. It holds secrets
	// (passwords of graphics consoles) where the caller may see them, so it
	// must not be printed or logged.
	XML(ctx context.Context) (string, error)

	// Live tells what the guest runs on now; [ErrNotRunning] if it is off.
	Live(ctx context.Context) (Live, error)

	// Start boots the guest, or resumes it if it is [Saved]. It returns when
	// the guest runs; [ErrRunning] if it was not off.
	Start(ctx context.Context) error

	// Shutdown asks the guest to power off and waits until it is off. A guest
	// that is still up when ctx ends gives [ErrTimeout]: it has been asked, so
	// it may yet go off. [ErrNotRunning] if it was off before.
	Shutdown(ctx context.Context) error

	// Destroy takes the power away and waits until the guest is off.
	// [ErrNotRunning] if it was off before.
	Destroy(ctx context.Context) error

	// Undefine forgets a guest that is off, with the memory of a [Saved] one.
	// Disks and the NVRAM file stay. A guest that runs gives [ErrRunning].
	Undefine(ctx context.Context) error

	// Pause stops the guest's processors. Disk requests it has sent already
	// may still be on their way.
	Pause(ctx context.Context) error

	// Resume lets a paused guest go on, also one that its hypervisor paused
	// after an I/O error.
	Resume(ctx context.Context) error
}

// Live is a guest that is up.
type Live struct {
	XML string // its definition, which may be another than that of the next start
	// Activity is a mark of all that it has read and written since it was started.
	// If it is the same later, the guest was paused all the while, or did nothing.
	Activity string
}

// State is what a guest is doing.
type State int

// The states of a guest. [Saved] is not one of libvirt's: there it is a guest
// that is shut off and has a managed save image.
const (
	Unknown      State = iota
	Running            // its processors run, or wait for work
	Paused             // by a user or the hypervisor
	ShuttingDown       // has been asked to power off and obeys
	ShutOff            // off, nothing holds its disks
	Saved              // off, its memory is kept for the next start
	Crashed            // off after a crash
	Suspended          // the guest suspended itself to memory
	Stalled            // paused because a disk failed; the requests that failed are tried again at Resume
)

var stateNames = [...]string{"unknown", "running", "paused", "shutting down", "shut off", "saved", "crashed", "suspended", "paused (I/O error)"}

func (s State) String() string {
	if s < 0 || int(s) >= len(stateNames) {
		return fmt.Sprintf("state %d", int(s))
	}
	return stateNames[s]
}

// Off tells that the guest uses no disk and no memory of it refers to one, so
// that the bytes of its disks may be replaced. A [Saved] guest is not off in
// this sense.
func (s State) Off() bool { return s == ShutOff || s == Crashed }

// Up tells that a process holds the guest's disks open.
func (s State) Up() bool {
	return s == Running || s == Paused || s == ShuttingDown || s == Suspended || s == Stalled
}

// Version is a version in libvirt's packing: 1,000,000*major + 1,000*minor +
// release.
type Version uint64

func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v/1_000_000, v/1_000%1_000, v%1_000)
}
