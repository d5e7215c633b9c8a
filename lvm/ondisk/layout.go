package ondisk

import "fmt"

// Layout is what a new PV shall look like. The zero values of all but
// DeviceSize are lvm2's defaults, except that there is no metadata area unless
// Copies says so.
type Layout struct {
	DeviceSize   uint64 // bytes
	MetadataSize uint64 // bytes of each area; 0: up to 1 MiB
	Copies       int    // metadata areas: 0, 1 (at the start) or 2 (and at the end)
	Alignment    uint64 // bytes; 0: 1 MiB
}

const (
	areaStart   = 4096 // page-aligned, behind the label sectors
	minAreaSize = 32 << 10
	mebi        = 1 << 20
	// MinDeviceSize is the smallest device that is scanned (devices/pv_min_size).
	MinDeviceSize = 2 * mebi
)

// Areas places the metadata areas and the data area, which reaches from DataStart
// to the end of the device or the second metadata area
// (format-text.c, _text_pv_add_metadata_area).
func (l Layout) Areas() (metadata []Area, dataStart uint64, err error) {
	fail := func(format string, args ...any) ([]Area, uint64, error) {
		return nil, 0, fmt.Errorf("%s: %w", fmt.Sprintf(format, args...), ErrLayout)
	}
	disk := l.DeviceSize / SectorSize * SectorSize
	size, align := l.MetadataSize, l.Alignment
	if size == 0 {
		size = mebi - areaStart
	}
	if align == 0 {
		align = mebi
	}
	size = (size + SectorSize - 1) / SectorSize * SectorSize
	switch {
	case disk < MinDeviceSize:
		return fail("device of %d bytes, at least %d are needed", l.DeviceSize, MinDeviceSize)
	case align%SectorSize != 0 || align > disk:
		return fail("alignment of %d bytes on a device of %d", align, disk)
	case size < minAreaSize || size > disk:
		return fail("metadata area of %d bytes on a device of %d, at least %d are needed", size, disk, minAreaSize)
	case l.Copies < 0 || l.Copies > MaxAreas:
		return fail("%d metadata areas, at most %d can be", l.Copies, MaxAreas)
	}
	if l.Copies == 0 {
		return nil, align, nil
	}
	front := size
	if over := (areaStart + front) % align; over != 0 && areaStart+front+align-over <= disk {
		front += align - over
	}
	dataStart = areaStart + front
	if dataStart >= disk {
		return fail("metadata area of %d bytes leaves no room on a device of %d", front, disk)
	}
	metadata = []Area{{areaStart, front}}
	if l.Copies == 1 {
		return metadata, dataStart, nil
	}
	if size >= disk-dataStart {
		return fail("two metadata areas of %d bytes leave no room on a device of %d", size, disk)
	}
	start := disk - size
	if aligned := start - start%align; aligned >= dataStart {
		start = aligned
	}
	return append(metadata, Area{start, disk - start}), dataStart, nil
}
