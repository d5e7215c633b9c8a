package lvm

import "errors"

// What this package refuses with. Every error of it matches one of these or
// one of package dmcore.
var (
	ErrNotFound     = errors.New("not found")
	ErrExists       = errors.New("already exists")
	ErrNoSpace      = errors.New("no space")
	ErrInvalid      = errors.New("invalid")
	ErrInUse        = errors.New("in use")
	ErrCorrupt      = errors.New("corrupt metadata")
	ErrForeign      = errors.New("owned by another system")
	ErrMerging      = errors.New("a merge is under way")
	ErrMissingPV    = errors.New("physical volume is missing")
	ErrDuplicate    = errors.New("found twice")
	ErrUnsupported  = errors.New("not supported")
	ErrMetadataFull = errors.New("metadata area is full")
)

// Error says which volume an operation failed on. VG alone, or VG and LV, are
// set; Op may be empty. Unwrap gives the cause.
type Error struct {
	VG, LV string
	Op     string
	Err    error
}

func (e *Error) Error() string {
	s := e.VG
	if e.LV != "" {
		s += "/" + e.LV
	}
	for _, part := range []string{e.Op, e.Err.Error()} {
		switch {
		case part == "":
		case s == "":
			s = part
		default:
			s += ": " + part
		}
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }
