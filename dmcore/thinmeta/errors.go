package thinmeta

import "errors"

// What metadata refuses with, beside the errors of its device and of dmcore.
var (
	ErrCorrupt      = errors.New("thin metadata is corrupt")
	ErrUnformatted  = errors.New("thin metadata is not formatted")
	ErrDataFull     = errors.New("thin pool has no free data block")
	ErrMetadataFull = errors.New("thin pool has no free metadata block")
	ErrNeedsCheck   = errors.New("thin metadata needs a check")
)
