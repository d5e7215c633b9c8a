package dmcore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// ThinState is whether a pool or a thin device can tell of itself.
type ThinState int

const (
	ThinOK    ThinState = iota
	ThinFail            // all I/O fails; the metadata has to be repaired
	ThinError           // the kernel could not read the metadata just now
)

func (s ThinState) String() string {
	switch s {
	case ThinOK:
		return "ok"
	case ThinFail:
		return "Fail"
	case ThinError:
		return "Error"
	}
	return fmt.Sprintf("ThinState(%d)", int(s))
}

// ThinPoolMode is what a pool can do now.
type ThinPoolMode string

const (
	ThinPoolWritable       ThinPoolMode = "rw"
	ThinPoolReadOnly       ThinPoolMode = "ro" // or out of metadata space: no message is taken
	ThinPoolOutOfDataSpace ThinPoolMode = "out_of_data_space"
)

// ThinDiscard is what becomes of a discard.
type ThinDiscard string

const (
	DiscardPassdown   ThinDiscard = "discard_passdown"
	DiscardNoPassdown ThinDiscard = "no_discard_passdown"
	DiscardIgnored    ThinDiscard = "ignore_discard"
)

// ThinPoolStatus is the status of a thin-pool target (Linux 6.1,
// drivers/md/dm-thin.c, pool_status). All is zero unless State is ThinOK.
// UsedMetadata includes a reserve of up to a tenth that the kernel keeps for
// itself.
type ThinPoolStatus struct {
	State                       ThinState
	TransactionID               uint64
	UsedMetadata, TotalMetadata uint64 // blocks of 4 KiB
	UsedData, TotalData         uint64 // blocks of the pool
	HeldRoot                    uint64 // of a reserved metadata snapshot; 0: none
	Mode                        ThinPoolMode
	Discard                     ThinDiscard
	ErrorIfNoSpace              bool
	NeedsCheck                  bool
	LowWater                    uint64 // free metadata blocks at which an event is raised; 0: not told
}

func (s ThinPoolStatus) String() string {
	if s.State != ThinOK {
		return s.State.String()
	}
	held, space, check := "-", "queue_if_no_space", "-"
	if s.HeldRoot != 0 {
		held = strconv.FormatUint(s.HeldRoot, 10)
	}
	if s.ErrorIfNoSpace {
		space = "error_if_no_space"
	}
	if s.NeedsCheck {
		check = "needs_check"
	}
	return fmt.Sprintf("%d %d/%d %d/%d %s %s %s %s %s %d", s.TransactionID, s.UsedMetadata, s.TotalMetadata,
		s.UsedData, s.TotalData, held, s.Mode, s.Discard, space, check, s.LowWater)
}

// DataPercent is the part of the data blocks in use; ok is false where nobody
// knows (lvm2 2.03.16, lib/thin/thin.c, _thin_pool_target_percent).
func (s ThinPoolStatus) DataPercent() (percent float64, ok bool) {
	return percentOf(s.UsedData, s.TotalData), s.State == ThinOK
}

// MetadataPercent is the part of the metadata blocks in use.
func (s ThinPoolStatus) MetadataPercent() (percent float64, ok bool) {
	return percentOf(s.UsedMetadata, s.TotalMetadata), s.State == ThinOK
}

// leastPercent is the smallest part that is told apart from none and from all.
const leastPercent = 1e-6

// percentOf is lvm2's dm_make_percent (device_mapper/libdm-report.c): 0 and 100
// are only what is exactly so, and all of nothing is 100.
func percentOf(part, of uint64) float64 {
	switch {
	case of == 0 || part == of:
		return 100
	case part == 0:
		return 0
	}
	return min(max(100*float64(part)/float64(of), leastPercent), 100-leastPercent)
}

// ParseThinPoolStatus reads the status line of a thin-pool target. Older
// kernels tell less at its end.
func ParseThinPoolStatus(params string) (ThinPoolStatus, error) {
	bad := func(what string) (ThinPoolStatus, error) {
		return ThinPoolStatus{}, fmt.Errorf("thin-pool status %q: %s: %w", params, what, ErrInvalid)
	}
	f := strings.Fields(params)
	if len(f) == 1 {
		switch f[0] {
		case "Fail":
			return ThinPoolStatus{State: ThinFail}, nil
		case "Error":
			return ThinPoolStatus{State: ThinError}, nil
		}
	}
	if len(f) < 7 || len(f) > 10 {
		return bad("want transaction id, metadata and data blocks, held root, mode, discards, what to do without space, and perhaps needs_check and a low water mark")
	}
	var s ThinPoolStatus
	var err error
	if s.TransactionID, err = strconv.ParseUint(f[0], 10, 64); err != nil {
		return bad("transaction id")
	}
	if s.UsedMetadata, s.TotalMetadata, err = parsePart(f[1]); err != nil {
		return bad("metadata blocks")
	}
	if s.UsedData, s.TotalData, err = parsePart(f[2]); err != nil {
		return bad("data blocks")
	}
	if f[3] != "-" {
		if s.HeldRoot, err = strconv.ParseUint(f[3], 10, 64); err != nil {
			return bad("held root")
		}
	}
	switch s.Mode = ThinPoolMode(f[4]); s.Mode {
	case ThinPoolWritable, ThinPoolReadOnly, ThinPoolOutOfDataSpace:
	default:
		return bad("mode")
	}
	switch s.Discard = ThinDiscard(f[5]); s.Discard {
	case DiscardPassdown, DiscardNoPassdown, DiscardIgnored:
	default:
		return bad("discards")
	}
	if s.ErrorIfNoSpace = f[6] == "error_if_no_space"; !s.ErrorIfNoSpace && f[6] != "queue_if_no_space" {
		return bad("what to do without space")
	}
	if len(f) > 7 {
		if s.NeedsCheck = f[7] == "needs_check"; !s.NeedsCheck && f[7] != "-" {
			return bad("needs_check")
		}
	}
	if len(f) > 8 {
		if s.LowWater, err = strconv.ParseUint(f[8], 10, 64); err != nil {
			return bad("low water mark")
		}
	}
	if len(f) > 9 {
		return bad("more than is known")
	}
	return s, nil
}

func parsePart(text string) (part, of uint64, err error) {
	a, b, _ := strings.Cut(text, "/")
	if part, err = strconv.ParseUint(a, 10, 64); err != nil {
		return 0, 0, err
	}
	of, err = strconv.ParseUint(b, 10, 64)
	return part, of, err
}

// ThinStatus is the status of a thin target (Linux 6.1, drivers/md/dm-thin.c,
// thin_status).
type ThinStatus struct {
	State   ThinState
	Mapped  Sectors
	Highest Sectors // the last that is mapped; 0: none is
}

func (s ThinStatus) String() string {
	switch {
	case s.State != ThinOK:
		return s.State.String()
	case s.Highest == 0:
		return fmt.Sprintf("%d -", s.Mapped)
	}
	return fmt.Sprintf("%d %d", s.Mapped, s.Highest)
}

// Percent is the part of a device of that size that is mapped; ok is false where
// nobody knows. The pool gives whole blocks, so the size counts in such too
// (lvm2 2.03.16, lib/thin/thin.c, _thin_target_percent).
func (s ThinStatus) Percent(size, block Sectors) (percent float64, ok bool) {
	if block > 0 {
		size = (size + block - 1) / block * block
	}
	return percentOf(uint64(min(s.Mapped, size)), uint64(size)), s.State == ThinOK
}

// ParseThinStatus reads the status line of a thin target.
func ParseThinStatus(params string) (ThinStatus, error) {
	bad := fmt.Errorf("thin status %q: want mapped sectors and the last of them: %w", params, ErrInvalid)
	f := strings.Fields(params)
	if len(f) == 1 {
		switch f[0] {
		case "Fail":
			return ThinStatus{State: ThinFail}, nil
		case "Error":
			return ThinStatus{State: ThinError}, nil
		case "-": // no table of it was ever live
			return ThinStatus{}, nil
		}
	}
	if len(f) != 2 {
		return ThinStatus{}, bad
	}
	var s ThinStatus
	var err error
	if s.Mapped, err = parseSectors(f[0]); err != nil {
		return ThinStatus{}, bad
	}
	if f[1] != "-" {
		if s.Highest, err = parseSectors(f[1]); err != nil {
			return ThinStatus{}, bad
		}
	}
	return s, nil
}

// ThinPoolStatus returns the status of a device whose live table is a thin pool;
// [ErrInvalid] for any other.
func (c *Client) ThinPoolStatus(ctx context.Context, uuid UUID) (ThinPoolStatus, error) {
	params, err := c.only(ctx, uuid, thinPoolType)
	if err != nil {
		return ThinPoolStatus{}, err
	}
	return ParseThinPoolStatus(params)
}

// ThinStatus returns the status of a device whose live table is one thin target;
// [ErrInvalid] for any other.
func (c *Client) ThinStatus(ctx context.Context, uuid UUID) (ThinStatus, error) {
	params, err := c.only(ctx, uuid, thinType)
	if err != nil {
		return ThinStatus{}, err
	}
	return ParseThinStatus(params)
}

// only returns the status line of a device with one target of that type.
func (c *Client) only(ctx context.Context, uuid UUID, kind string) (string, error) {
	targets, err := c.Status(ctx, uuid)
	if err != nil {
		return "", err
	}
	if len(targets) != 1 || targets[0].Type != kind {
		return "", &Error{TargetStatusOf, Name(uuid), fmt.Errorf("is no %s: %w", kind, ErrInvalid)}
	}
	return targets[0].Params, nil
}
