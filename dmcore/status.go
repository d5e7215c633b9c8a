package dmcore

import (
	"fmt"
	"strings"
)

// SnapshotState is the condition of a snapshot or merge, as its status line
// tells it.
type SnapshotState int

const (
	SnapshotOK       SnapshotState = iota
	SnapshotInvalid                // overflowed, or its store is damaged: for ever
	MergeFailed                    // I/O failed; activating again continues the merge
	SnapshotOverflow               // full in a mode that keeps it readable
)

func (s SnapshotState) String() string {
	switch s {
	case SnapshotOK:
		return "ok"
	case SnapshotInvalid:
		return "Invalid"
	case MergeFailed:
		return "Merge failed"
	case SnapshotOverflow:
		return "Overflow"
	}
	return fmt.Sprintf("SnapshotState(%d)", int(s))
}

// SnapshotStatus is the status of a snapshot or snapshot-merge target. The
// counts are zero unless State is SnapshotOK. A merge is complete when
// Allocated equals Metadata (drivers/md/dm-snap.c, snapshot_status).
type SnapshotStatus struct {
	Allocated, Total, Metadata Sectors
	State                      SnapshotState
}

func (s SnapshotStatus) String() string {
	if s.State != SnapshotOK {
		return s.State.String()
	}
	return fmt.Sprintf("%d/%d %d", s.Allocated, s.Total, s.Metadata)
}

// Merged reports whether a snapshot-merge target has nothing left to copy.
func (s SnapshotStatus) Merged() bool {
	return s.State == SnapshotOK && s.Allocated == s.Metadata
}

// Percent is the part of the COW device in use, 0 to 100; 100 when invalid, 0
// when only metadata is allocated, as lvm2 shows it
// (lib/activate/dev_manager.c, percent of snapshot targets).
func (s SnapshotStatus) Percent() float64 {
	switch {
	case s.State != SnapshotOK:
		return 100
	case s.Total == 0 || s.Allocated == s.Metadata:
		return 0
	}
	return 100 * float64(s.Allocated) / float64(s.Total)
}

// ParseSnapshotStatus reads the status line of a snapshot or snapshot-merge
// target.
func ParseSnapshotStatus(params string) (SnapshotStatus, error) {
	switch strings.TrimSpace(params) {
	case "Invalid":
		return SnapshotStatus{State: SnapshotInvalid}, nil
	case "Merge failed":
		return SnapshotStatus{State: MergeFailed}, nil
	case "Overflow":
		return SnapshotStatus{State: SnapshotOverflow}, nil
	}
	var s SnapshotStatus
	if n, err := fmt.Sscanf(params, "%d/%d %d", &s.Allocated, &s.Total, &s.Metadata); err != nil || n != 3 {
		return SnapshotStatus{}, fmt.Errorf("snapshot status %q: want allocated/total metadata: %w", params, ErrInvalid)
	}
	return s, nil
}

// TargetStatus is one line of `dmsetup status`.
type TargetStatus struct {
	Start, Length Sectors
	Type          string
	Params        string
}

func (s TargetStatus) String() string {
	line := fmt.Sprintf("%d %d %s", s.Start, s.Length, s.Type)
	if s.Params != "" {
		line += " " + s.Params
	}
	return line
}
