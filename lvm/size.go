package lvm

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"cowhand/dmcore"
)

// Size is a length as people ask for it: bytes, extents, or a percentage of
// something. Its zero value is no size at all.
//
//	5g  5GiB  5G      5 * 2^30 bytes; lvcreate reads both cases as powers of 1024
//	512               512 MiB
//	25%ORIGIN         room for a quarter of the origin to change
//	50%FREE  10%VG  100%PVS
type Size struct {
	Bytes   uint64
	Count   Extents
	Percent uint32
	Of      SizeBase
}

// SizeBase is what a percentage is of.
type SizeBase int

// The bases of percentages.
const (
	OfOrigin SizeBase = iota + 1 // the origin of a snapshot
	OfFree                       // the free extents of the group
	OfVG                         // all extents of the group
	OfPVs                        // the extents of the physical volumes given, or of the group
)

var sizeBases = map[SizeBase]string{OfOrigin: "ORIGIN", OfFree: "FREE", OfVG: "VG", OfPVs: "PVS"}

func (b SizeBase) String() string {
	if s, ok := sizeBases[b]; ok {
		return s
	}
	return fmt.Sprintf("SizeBase(%d)", int(b))
}

// sizeUnits are the suffixes that stand for powers of 1024, from 2^10 up.
const sizeUnits = "kmgtpe"

// IsZero reports the absence of a size.
func (s Size) IsZero() bool { return s == Size{} }

// ParseSize reads a size as lvcreate's --size does: a number and a unit of
// bBsSkKmMgGtTpPeE (bytes, sectors, powers of 1024 in either case), or without
// unit, which is MiB. KiB to EiB, and percentages, are read too.
func ParseSize(s string) (Size, error) { return parseSize(s, false) }

// ParseExtents reads a size as lvcreate's --extents does: a count of extents,
// or a percentage.
func ParseExtents(s string) (Size, error) { return parseSize(s, true) }

func parseSize(s string, extents bool) (Size, error) {
	bad := func(why string) (Size, error) {
		return Size{}, fmt.Errorf("size %q: %s: %w", s, why, ErrInvalid)
	}
	text := strings.TrimSpace(s)
	end := 0
	for end < len(text) && (text[end] >= '0' && text[end] <= '9' || text[end] == '.') {
		end++
	}
	number, unit := text[:end], strings.ToLower(text[end:])
	if number == "" || number == "." || strings.Count(number, ".") > 1 {
		return bad("want a number, then a unit or a percentage")
	}
	if percent, ok := strings.CutPrefix(unit, "%"); ok {
		return parsePercent(s, number, percent)
	}
	if extents {
		n, err := strconv.ParseUint(number, 10, 64)
		if unit != "" || err != nil || n == 0 || Extents(n) > MaxExtents {
			return bad("want a count of extents, or a percentage such as 50%FREE")
		}
		return Size{Count: Extents(n)}, nil
	}
	scale, ok := unitScale(unit)
	if !ok {
		return bad("units are b, s, k, m, g, t, p, e, or KiB to EiB")
	}
	n, ok := multiply(number, scale)
	switch {
	case !ok:
		return bad("too large")
	case n == 0:
		return bad("must be more than 0")
	case n%dmcore.SectorSize != 0:
		return bad("not a multiple of 512 bytes")
	}
	return Size{Bytes: n}, nil
}

func parsePercent(s, number, base string) (Size, error) {
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n == 0 {
		return Size{}, fmt.Errorf("size %q: want a whole percentage of at least 1: %w", s, ErrInvalid)
	}
	for b, name := range sizeBases {
		if base != "" && strings.HasPrefix(name, strings.ToUpper(base)) { // lvm2 takes %PV, %F and the like, too
			if n > 100 && b != OfOrigin {
				return Size{}, fmt.Errorf("size %q: at most 100 percent: %w", s, ErrInvalid)
			}
			return Size{Percent: uint32(n), Of: b}, nil
		}
	}
	return Size{}, fmt.Errorf("size %q: percentages are of ORIGIN, FREE, VG or PVS: %w", s, ErrInvalid)
}

func unitScale(unit string) (uint64, bool) {
	switch unit {
	case "":
		return 1 << 20, true
	case "b":
		return 1, true
	case "s":
		return dmcore.SectorSize, true
	}
	i := strings.IndexByte(sizeUnits, unit[0])
	if i < 0 || unit[1:] != "" && unit[1:] != "ib" {
		return 0, false
	}
	return 1 << (10 * (i + 1)), true
}

// multiply is number * scale, rounded up to sectors where number has a
// fraction.
func multiply(number string, scale uint64) (uint64, bool) {
	if n, err := strconv.ParseUint(number, 10, 64); err == nil {
		hi, lo := bits.Mul64(n, scale)
		return lo, hi == 0 && lo <= math.MaxInt64
	}
	f, err := strconv.ParseFloat(number, 64)
	if f *= float64(scale); err != nil || f > math.MaxInt64-dmcore.SectorSize {
		return 0, false
	}
	if scale == 1 {
		return uint64(math.Ceil(f)), true
	}
	return uint64(math.Ceil(f/dmcore.SectorSize)) * dmcore.SectorSize, true
}

func (s Size) String() string {
	switch {
	case s.Percent > 0:
		return fmt.Sprintf("%d%%%s", s.Percent, s.Of)
	case s.Count > 0:
		return fmt.Sprintf("%d extents", s.Count)
	case s.Bytes == 0:
		return ""
	}
	n, unit := s.Bytes, -1
	for unit < len(sizeUnits)-1 && n%1024 == 0 {
		n, unit = n/1024, unit+1
	}
	if unit < 0 {
		return fmt.Sprintf("%db", n)
	}
	return fmt.Sprintf("%d%ciB", n, sizeUnits[unit]-'a'+'A')
}

// MarshalText prints the size; the zero Size is the empty text.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseSize reads, or "N extents".
func (s *Size) UnmarshalText(b []byte) (err error) {
	text := string(b)
	if n, ok := strings.CutSuffix(text, " extents"); ok {
		*s, err = ParseExtents(n)
		return err
	}
	if text == "" {
		*s = Size{}
		return nil
	}
	*s, err = ParseSize(text)
	return err
}

// Basis is what a size is reckoned against.
type Basis struct {
	Origin *LV            // for percentages of the origin
	Chunk  dmcore.Sectors // of the snapshot; 0: the default
	PVs    []string       // names of the physical volumes to use, none: all
	// Extend rounds percentages up, as extensions do, where new volumes round them down
	// (lvm2 2.03.16, lib/metadata/lv_manip.c, extents_from_percent_size).
	Extend bool
}

// Extents turns a size into extents of vg, rounding bytes up. The note, if any,
// tells what was rounded.
func (s Size) Extents(vg *VG, b Basis) (n Extents, note string, err error) {
	switch {
	case s.IsZero():
		return 0, "", fmt.Errorf("no size given: %w", ErrInvalid)
	case s.Count > 0:
		n = s.Count
	case s.Bytes > 0:
		extent := uint64(vg.ExtentSize.Bytes())
		n = Extents(s.Bytes / extent)
		if s.Bytes%extent != 0 {
			n++
			note = fmt.Sprintf("rounding up %s to %s, whole extents of %s", s, HumanSize(vg.Sectors(n)), HumanSize(vg.ExtentSize))
		}
	default:
		if n, err = s.percentage(vg, b); err != nil {
			return 0, "", err
		}
	}
	if n == 0 {
		return 0, "", fmt.Errorf("size %s: is no whole extent of %s: %w", s, HumanSize(vg.ExtentSize), ErrNoSpace)
	}
	if n > MaxExtents {
		return 0, "", fmt.Errorf("size %s: %d extents, a volume has at most %d: %w", s, n, MaxExtents, ErrInvalid)
	}
	return n, note, nil
}

func (s Size) percentage(vg *VG, b Basis) (Extents, error) {
	percent := func(of Extents) Extents {
		p, more := Extents(s.Percent), Extents(0)
		if b.Extend || s.Of == OfOrigin {
			more = 99
		}
		return of/100*p + (of%100*p+more)/100
	}
	switch s.Of {
	case OfFree:
		return percent(vg.allocatable(nil)), nil
	case OfVG:
		return min(percent(vg.TotalExtents()), vg.allocatable(nil)), nil
	case OfPVs:
		if len(b.PVs) == 0 {
			return percent(vg.TotalExtents()), nil
		}
		if err := vg.checkPVs(b.PVs); err != nil {
			return 0, err
		}
		return percent(vg.allocatable(b.PVs)), nil
	case OfOrigin:
		if b.Origin == nil {
			return 0, fmt.Errorf("size %s: only a snapshot has an origin: %w", s, ErrInvalid)
		}
		size := b.Origin.Extents()
		if b.Extend { // lvm2 2.03.16, lib/metadata/lv_manip.c, _lvresize_extents_from_percent
			return percent(size), nil
		}
		// Of a new snapshot the store's own chunks come on top of the share of the origin
		// (the same file, percentages of ORIGIN).
		return COWMaximum(vg.Sectors(size), orDefault(b.Chunk), vg.ExtentSize) - size + percent(size), nil
	}
	return 0, fmt.Errorf("size %s: unknown base: %w", s, ErrInvalid)
}

// HumanSize prints a length in the largest unit in which it is at least one,
// with two decimals if it is not whole.
func HumanSize(n dmcore.Sectors) string {
	bytes, unit := float64(n)*dmcore.SectorSize, -1
	for unit < len(sizeUnits)-1 && bytes >= 1024 {
		bytes, unit = bytes/1024, unit+1
	}
	text := strings.TrimSuffix(strconv.FormatFloat(bytes, 'f', 2, 64), ".00")
	if unit < 0 {
		return text + " B"
	}
	return fmt.Sprintf("%s %ciB", text, sizeUnits[unit]-'a'+'A')
}
