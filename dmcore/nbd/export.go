package nbd

import (
	"context"
	"fmt"
	"math/bits"

	"cowhand/dmcore/blockdev"
)

// export is an open export and what was negotiated for it.
type export struct {
	Export
	dev       blockdev.Device
	discarder blockdev.Discarder // nil: cannot
	zeroer    blockdev.Zeroer
	mapper    blockdev.Mapper

	size                     uint64
	minBlock, preferredBlock uint32
	structured               bool // structured replies
	meta                     bool // base:allocation
}

// open opens an export and finds out what it can do.
func (s *Server) open(ctx context.Context, name string, readOnly bool) (*export, error) {
	dev, e, err := s.Exports.Open(ctx, name, readOnly)
	if err != nil {
		return nil, err
	}
	x := &export{Export: e, dev: dev}
	x.ReadOnly = e.ReadOnly || readOnly
	x.discarder, _ = dev.(blockdev.Discarder)
	x.zeroer, _ = dev.(blockdev.Zeroer)
	x.mapper, _ = dev.(blockdev.Mapper)

	x.minBlock, x.preferredBlock = e.MinBlock, e.PreferredBlock
	if x.minBlock == 0 {
		x.minBlock = 512
	}
	if x.preferredBlock == 0 {
		x.preferredBlock = max(4096, x.minBlock)
	}
	size := dev.Size()
	if size < 0 || bits.OnesCount32(x.minBlock) != 1 || x.minBlock > 1<<16 ||
		bits.OnesCount32(x.preferredBlock) != 1 || x.preferredBlock < max(x.minBlock, 512) || x.preferredBlock > maxPayload {
		dev.Close()
		return nil, fmt.Errorf("export %q: %d bytes in blocks of %d, preferably %d: %w",
			name, size, x.minBlock, x.preferredBlock, errInval)
	}
	x.size = uint64(size) &^ uint64(x.minBlock-1)
	return x, nil
}

// flags are the transmission flags.
func (x *export) flags() uint16 {
	f := uint16(flagHasFlags | flagSendFlush | flagSendFUA | flagCanMultiConn | flagSendCache)
	if x.structured {
		f |= flagSendDF
	}
	if x.ReadOnly {
		return f | flagReadOnly
	}
	f |= flagSendWriteZeroes | flagSendFastZero
	if x.discarder != nil {
		f |= flagSendTrim
	}
	return f
}

// allowed are the flags a command may carry; known tells whether there is such
// a command. FUA has to be accepted everywhere.
func (x *export) allowed(cmd uint16) (flags uint16, known bool) {
	switch cmd {
	case cmdRead:
		if x.structured {
			return cmdFlagFUA | cmdFlagDF, true
		}
		return cmdFlagFUA, true
	case cmdWrite, cmdFlush, cmdTrim, cmdCache:
		return cmdFlagFUA, true
	case cmdWriteZeroes:
		return cmdFlagFUA | cmdFlagNoHole | cmdFlagFastZero, true
	case cmdBlockStatus:
		return cmdFlagFUA | cmdFlagReqOne, true
	}
	return 0, false
}

// check decides whether a request may be carried out: 0, or what is wrong.
func (x *export) check(h *header) errno {
	flags, known := x.allowed(h.cmd)
	if !known || h.flags&^flags != 0 {
		return errInval
	}
	writes := h.cmd == cmdWrite || h.cmd == cmdWriteZeroes || h.cmd == cmdTrim
	if writes && x.ReadOnly {
		return errPerm
	}
	if h.cmd == cmdFlush {
		if h.offset != 0 || h.length != 0 {
			return errInval
		}
		return 0
	}
	switch {
	case h.cmd == cmdTrim && x.discarder == nil,
		h.cmd == cmdBlockStatus && (!x.meta || h.length == 0):
		return errInval
	case h.offset > x.size || uint64(h.length) > x.size-h.offset:
		if h.cmd == cmdWrite || h.cmd == cmdWriteZeroes {
			return errNoSpace
		}
		return errInval
	case (h.offset|uint64(h.length))&uint64(x.minBlock-1) != 0:
		return errInval
	case h.length > maxPayload && h.cmd == cmdRead && x.structured:
		return errOverflow
	case h.length > maxPayload && (h.cmd == cmdRead || h.cmd == cmdWrite):
		return errInval
	}
	return 0
}
