package dmcore

import (
	"fmt"
	"strconv"
	"strings"
)

// Target is one kind of mapping with its arguments. Targets are plain values;
// Params prints the arguments as `dmsetup table` does.
type Target interface {
	Type() string
	Params() string
	Devs() []Dev
	withDevs(func(Dev) (Dev, error)) (Target, error)
}

// Linear maps to a device from sector Start on (drivers/md/dm-linear.c).
type Linear struct {
	Dev   Dev
	Start Sectors
}

// Striped deals chunks of Chunk sectors out to its areas in turn; the segment's
// length is a multiple of areas times chunk (drivers/md/dm-stripe.c).
type Striped struct {
	Chunk Sectors
	Areas []Linear
}

// Zero reads as zeroes and forgets what is written (drivers/md/dm-zero.c).
type Zero struct{}

// Failing is the "error" target: it fails all I/O (drivers/md/dm-target.c).
type Failing struct{}

// SnapshotOrigin is a volume that has snapshots: before a chunk is first
// overwritten, every snapshot of Dev gets its old contents
// (drivers/md/dm-snap.c).
type SnapshotOrigin struct{ Dev Dev }

// Snapshot shows Origin as it was when the snapshot was taken, plus what was
// written to the snapshot; both live in COW in chunks of Chunk sectors, in the
// persistent exception store (package cowstore).
type Snapshot struct {
	Origin, COW Dev
	Chunk       Sectors
}

// SnapshotMerge stands in the origin's place while the snapshot's chunks are
// copied back into it. It reads as the snapshot from its first moment.
type SnapshotMerge struct {
	Origin, COW Dev
	Chunk       Sectors
}

func (Linear) Type() string         { return "linear" }
func (Striped) Type() string        { return "striped" }
func (Zero) Type() string           { return "zero" }
func (Failing) Type() string        { return "error" }
func (SnapshotOrigin) Type() string { return "snapshot-origin" }
func (Snapshot) Type() string       { return "snapshot" }
func (SnapshotMerge) Type() string  { return "snapshot-merge" }

func (t Linear) Params() string { return fmt.Sprintf("%s %d", quoteArg(string(t.Dev)), t.Start) }
func (t Striped) Params() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d", len(t.Areas), t.Chunk)
	for _, a := range t.Areas {
		b.WriteString(" " + a.Params())
	}
	return b.String()
}
func (Zero) Params() string             { return "" }
func (Failing) Params() string          { return "" }
func (t SnapshotOrigin) Params() string { return quoteArg(string(t.Dev)) }
func (t Snapshot) Params() string       { return snapParams(t.Origin, t.COW, t.Chunk) }
func (t SnapshotMerge) Params() string  { return snapParams(t.Origin, t.COW, t.Chunk) }

func snapParams(origin, cow Dev, chunk Sectors) string {
	return fmt.Sprintf("%s %s P %d", quoteArg(string(origin)), quoteArg(string(cow)), chunk)
}

func (t Linear) Devs() []Dev { return []Dev{t.Dev} }
func (t Striped) Devs() []Dev {
	var devs []Dev
	for _, a := range t.Areas {
		devs = append(devs, a.Dev)
	}
	return devs
}
func (Zero) Devs() []Dev             { return nil }
func (Failing) Devs() []Dev          { return nil }
func (t SnapshotOrigin) Devs() []Dev { return []Dev{t.Dev} }
func (t Snapshot) Devs() []Dev       { return []Dev{t.Origin, t.COW} }
func (t SnapshotMerge) Devs() []Dev  { return []Dev{t.Origin, t.COW} }

func (t Linear) withDevs(f func(Dev) (Dev, error)) (Target, error) {
	err := mapDevs(f, &t.Dev)
	return t, err
}

func (t Striped) withDevs(f func(Dev) (Dev, error)) (Target, error) {
	t.Areas = append([]Linear(nil), t.Areas...)
	for i := range t.Areas {
		if err := mapDevs(f, &t.Areas[i].Dev); err != nil {
			return nil, err
		}
	}
	return t, nil
}
func (t Zero) withDevs(func(Dev) (Dev, error)) (Target, error)    { return t, nil }
func (t Failing) withDevs(func(Dev) (Dev, error)) (Target, error) { return t, nil }
func (t SnapshotOrigin) withDevs(f func(Dev) (Dev, error)) (Target, error) {
	err := mapDevs(f, &t.Dev)
	return t, err
}
func (t Snapshot) withDevs(f func(Dev) (Dev, error)) (Target, error) {
	err := mapDevs(f, &t.Origin, &t.COW)
	return t, err
}
func (t SnapshotMerge) withDevs(f func(Dev) (Dev, error)) (Target, error) {
	err := mapDevs(f, &t.Origin, &t.COW)
	return t, err
}

func mapDevs(f func(Dev) (Dev, error), devs ...*Dev) error {
	for _, d := range devs {
		to, err := f(*d)
		if err != nil {
			return err
		}
		*d = to
	}
	return nil
}

// ParseTarget reads a target's arguments as a table line gives them. A type
// that this package does not know matches [ErrNotSupported].
func ParseTarget(kind string, args []string) (Target, error) {
	bad := func(want string) error {
		return fmt.Errorf("%s %s: want %s: %w", kind, strings.Join(args, " "), want, ErrInvalid)
	}
	switch kind {
	case "linear":
		if len(args) == 2 {
			if start, err := parseSectors(args[1]); err == nil {
				return Linear{Dev(args[0]), start}, nil
			}
		}
		return nil, bad("device and start")
	case "striped":
		return parseStriped(args, bad)
	case "zero", "error":
		if len(args) != 0 {
			return nil, bad("no arguments")
		}
		if kind == "zero" {
			return Zero{}, nil
		}
		return Failing{}, nil
	case "snapshot-origin":
		if len(args) != 1 {
			return nil, bad("device")
		}
		return SnapshotOrigin{Dev(args[0])}, nil
	case "snapshot", "snapshot-merge":
		if len(args) != 4 || args[2] != "P" {
			return nil, bad("origin, COW device, P and chunk size")
		}
		chunk, err := parseSectors(args[3])
		if err != nil {
			return nil, err
		}
		if kind == "snapshot" {
			return Snapshot{Dev(args[0]), Dev(args[1]), chunk}, nil
		}
		return SnapshotMerge{Dev(args[0]), Dev(args[1]), chunk}, nil
	case thinPoolType:
		return parseThinPool(args, bad)
	case thinType:
		return parseThin(args, bad)
	}
	return nil, fmt.Errorf("target %q: %w", kind, ErrNotSupported)
}

func parseStriped(args []string, bad func(string) error) (Target, error) {
	const want = "count, chunk size, then device and start for each stripe"
	if len(args) < 4 {
		return nil, bad(want)
	}
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 || n != (len(args)-2)/2 || len(args)%2 != 0 {
		return nil, bad(want)
	}
	chunk, err := parseSectors(args[1])
	if err != nil {
		return nil, bad(want)
	}
	t := Striped{Chunk: chunk}
	for i := 2; i < len(args); i += 2 {
		start, err := parseSectors(args[i+1])
		if err != nil {
			return nil, bad(want)
		}
		t.Areas = append(t.Areas, Linear{Dev(args[i]), start})
	}
	return t, nil
}
