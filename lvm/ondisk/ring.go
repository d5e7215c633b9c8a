package ondisk

import "fmt"

// Max is the longest text, its NUL included, that the area holds: two copies
// must fit, each rounded up to a sector (format-text.c, _vg_write_raw).
func (h Header) Max() uint64 {
	if h.Size < 4*SectorSize {
		return 0
	}
	return (h.Size-SectorSize)/2 - SectorSize
}

// Place says where a text goes: behind the committed copy, from a sector
// boundary on, in a ring that leaves out the header.
//
//	512                                      size
//	 │ …new copy]0 │ … │[committed]0│[new copy… │      the copy wraps
//
// The checksum is that of the text. A text longer than [Header.Max] is [ErrFull].
// (format-text.c, _next_rlocn_offset.)
func (h Header) Place(text []byte) (Slot, error) {
	size := uint64(len(text))
	if size == 0 || size > h.Max() {
		return Slot{}, fmt.Errorf("metadata area at %d: text of %d bytes, at most %d fit: %w", h.Start, size, h.Max(), ErrFull)
	}
	s := Slot{Offset: h.next(), Size: size, Checksum: CRC(text)}
	padded := s
	padded.Size += h.Padding(s)
	if !h.old().Empty() && h.overlap(padded, h.old()) {
		return Slot{}, fmt.Errorf("metadata area at %d: text of %d bytes at %d would overwrite the committed one, %d bytes at %d: %w",
			h.Start, size, s.Offset, h.Committed.Size, h.Committed.Offset, ErrFull)
	}
	return s, nil
}

// old is the copy that must not be touched.
func (h Header) old() Slot {
	if h.Ignored() {
		return Slot{}
	}
	return h.Committed
}

func (h Header) next() uint64 {
	old := h.old()
	if old.Empty() {
		return SectorSize
	}
	last := old.Offset + old.Size - 1
	if last >= h.Size {
		last = last - h.Size + SectorSize
	}
	if h.Size-last < SectorSize {
		return SectorSize
	}
	next := (last + SectorSize) / SectorSize * SectorSize
	if next > h.Size-SectorSize {
		return SectorSize
	}
	return next
}

// Spans returns where on the device the copy is: one area, or two when it wraps.
func (h Header) Spans(s Slot) []Area {
	first := Area{h.Start + s.Offset, s.Size}
	if s.Offset+s.Size <= h.Size {
		return []Area{first}
	}
	first.Size = h.Size - s.Offset
	return []Area{first, {h.Start + SectorSize, s.Size - first.Size}}
}

// Padding is how many zero bytes follow the copy, up to the sector boundary.
func (h Header) Padding(s Slot) uint64 {
	spans := h.Spans(s)
	end := spans[len(spans)-1].End()
	return min((SectorSize-end%SectorSize)%SectorSize, h.Start+h.Size-end)
}

func (h Header) overlap(a, b Slot) bool {
	for _, x := range h.Spans(a) {
		for _, y := range h.Spans(b) {
			if x.Offset < y.End() && y.Offset < x.End() {
				return true
			}
		}
	}
	return false
}

// Commit returns the header that makes s, a copy already written, the committed
// one. (format-text.c, _vg_commit_raw_rlocn.)
func (h Header) Commit(s Slot) Header {
	h.Committed, h.Precommit = s, Slot{}
	return h
}

// Prepare returns the header with s, a copy already written, precommitted.
func (h Header) Prepare(s Slot) Header {
	if h.old().Empty() {
		h.Committed = Slot{}
	}
	h.Precommit = s
	return h
}

// Abort returns the header without a precommitted copy.
func (h Header) Abort() Header {
	h.Precommit = Slot{}
	return h
}
