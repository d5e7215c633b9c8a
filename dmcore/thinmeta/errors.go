package thinmeta

import "errors"

// What metadata refuses with, beside the errors of its device and of dmcore.
var (
	ErrCorrupt     = errors.New("thin metadata is corrupt")
	ErrUnformatted = errors.New("thin metadata is not formatted")
)
