package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// Flags of struct dm_ioctl (include/uapi/linux/dm-ioctl.h).
const (
	flagReadOnly       = 1 << 0
	flagSuspend        = 1 << 1
	flagPersistentDev  = 1 << 3
	flagStatusTable    = 1 << 4
	flagActive         = 1 << 5
	flagInactive       = 1 << 6
	flagBufferFull     = 1 << 8
	flagSkipLockFS     = 1 << 10
	flagNoFlush        = 1 << 11
	flagQueryInactive  = 1 << 12
	flagUevent         = 1 << 13
	flagUUID           = 1 << 14
	flagSecureData     = 1 << 15
	flagDataOut        = 1 << 16
	flagDeferredRemove = 1 << 17
)

const (
	headSize = unix.SizeofDmIoctl
	specSize = unix.SizeofDmTargetSpec
	// firstRoom is what an answer gets at first, maxRoom what it may need: the
	// table of a million segments. The kernel takes up to 1 GiB.
	firstRoom = 16 << 10
	maxRoom   = 256 << 20
)

// call is one command on its way to the kernel. It is about the device that
// uuid, name or dev gives; the kernel wants one of them alone.
type call struct {
	num     uintptr
	name    string // as the kernel has it
	uuid    string
	dev     uint64
	flags   uint32
	event   uint32 // udev's cookie
	targets int
	data    []byte
	answers bool // with more than the header
}

// as is the same device and another command.
func (q call) as(num uintptr, flags uint32) *call {
	q.num, q.flags = num, flags
	return &q
}

// encode makes the buffer, with room for the answer.
func (q *call) encode(room int) ([]byte, error) {
	var h unix.DmIoctl
	h.Version[0] = unix.DM_VERSION_MAJOR // minor 0: every kernel knows it
	size := headSize + max(len(q.data), room)
	if len(q.data) > maxRoom {
		return nil, fmt.Errorf("%d bytes of arguments, at most %d: %w", len(q.data), maxRoom, dmcore.ErrInvalid)
	}
	if len(q.name) >= len(h.Name) || len(q.uuid) >= len(h.Uuid) {
		return nil, fmt.Errorf("name of %d or uuid of %d bytes is too long: %w", len(q.name), len(q.uuid), dmcore.ErrInvalid)
	}
	h.Data_size, h.Data_start = uint32(size), headSize
	h.Target_count, h.Flags, h.Event_nr, h.Dev = uint32(q.targets), q.flags, q.event, q.dev
	copy(h.Name[:], q.name)
	copy(h.Uuid[:], q.uuid)
	b, err := binary.Append(make([]byte, 0, size), binary.NativeEndian, &h)
	if err != nil {
		return nil, err
	}
	return append(b, q.data...)[:size], nil
}

// answer is what the kernel wrote into the buffer.
type answer struct {
	head unix.DmIoctl
	data []byte
}

func decode(b []byte) (*answer, error) {
	a := &answer{}
	if _, err := binary.Decode(b, binary.NativeEndian, &a.head); err != nil {
		return nil, malformed("header", len(b))
	}
	if start, end := uint64(a.head.Data_start), uint64(a.head.Data_size); start < end && end <= uint64(len(b)) {
		a.data = b[start:end]
	}
	return a, nil
}

func malformed(what string, at int) error {
	return fmt.Errorf("answer of the kernel: %s at byte %d does not fit: %w", what, at, dmcore.ErrInvalid)
}

// text reads up to a NUL.
func text(b []byte) (string, bool) {
	s, _, ok := bytes.Cut(b, []byte{0})
	return string(s), ok
}

// padded rounds up to the alignment of records.
func padded(n int) int { return (n + 7) &^ 7 }

// appendTable writes the segments for TABLE_LOAD.
func appendTable(b []byte, t dmcore.Table) ([]byte, error) {
	for _, s := range t {
		var spec unix.DmTargetSpec
		kind, params := s.Target.Type(), s.Target.Params()
		if kind == "" || len(kind) >= len(spec.Target_type) || bytes.IndexByte([]byte(kind+params), 0) >= 0 {
			return nil, fmt.Errorf("target %q: %w", kind, dmcore.ErrInvalid)
		}
		record := padded(specSize + len(params) + 1)
		spec.Sector_start, spec.Length, spec.Next = uint64(s.Start), uint64(s.Length), uint32(record)
		copy(spec.Target_type[:], kind)
		end := len(b) + record
		var err error
		if b, err = binary.Append(b, binary.NativeEndian, &spec); err != nil {
			return nil, err
		}
		b = append(b, params...)
		b = append(b, make([]byte, end-len(b))...)
	}
	return b, nil
}

// segments reads what table and status answer.
func (a *answer) segments() ([]dmcore.TargetStatus, error) {
	var out []dmcore.TargetStatus
	at := 0
	for range a.head.Target_count {
		if at > len(a.data)-specSize {
			return nil, malformed("segment", at)
		}
		var spec unix.DmTargetSpec
		if _, err := binary.Decode(a.data[at:], binary.NativeEndian, &spec); err != nil {
			return nil, malformed("segment", at)
		}
		kind, ok := text(spec.Target_type[:])
		params, ok2 := text(a.data[at+specSize:])
		if !ok || !ok2 {
			return nil, malformed("segment", at)
		}
		out = append(out, dmcore.TargetStatus{
			Start: dmcore.Sectors(spec.Sector_start), Length: dmcore.Sectors(spec.Length), Type: kind, Params: params})
		if len(out) < int(a.head.Target_count) && int64(spec.Next) < int64(at+specSize) {
			return nil, malformed("segment", at) // or it would be read for ever
		}
		at = int(min(int64(spec.Next), int64(len(a.data))))
	}
	return out, nil
}

// records walks through names or versions: next is at that offset of each, and
// the text after it.
func (a *answer) records(nextAt, textAt int, f func(record []byte, name string)) error {
	for at := 0; ; {
		if at > len(a.data)-textAt {
			return malformed("record", at)
		}
		b := a.data[at:]
		name, ok := text(b[textAt:])
		if !ok {
			return malformed("record", at)
		}
		f(b, name)
		next := binary.NativeEndian.Uint32(b[nextAt:])
		if next == 0 {
			return nil
		}
		if int64(next) < int64(textAt) || int64(next) > int64(len(b)) {
			return malformed("record", at)
		}
		at += int(next)
	}
}

// devices reads the numbers that LIST_DEVICES answers. Name, uuid and event
// number stand beside them since 4.37 and 4.41; the rest of Info does not, so
// each device is asked for its own.
func (a *answer) devices() ([]uint64, error) {
	if len(a.data) < 8 || binary.NativeEndian.Uint64(a.data) == 0 {
		return nil, nil
	}
	var devs []uint64
	err := a.records(8, 12, func(b []byte, _ string) { devs = append(devs, binary.NativeEndian.Uint64(b)) })
	return devs, err
}

// targetNames reads what LIST_VERSIONS answers.
func (a *answer) targetNames() ([]string, error) {
	if len(a.data) == 0 {
		return nil, nil
	}
	var names []string
	err := a.records(0, 16, func(_ []byte, name string) { names = append(names, name) })
	return names, err
}

// deps reads what TABLE_DEPS answers.
func (a *answer) deps() ([]dmcore.Dev, error) {
	if len(a.data) == 0 {
		return nil, nil
	}
	if len(a.data) < 8 {
		return nil, malformed("count", 0)
	}
	n := binary.NativeEndian.Uint32(a.data)
	if int64(n) > int64(len(a.data)-8)/8 {
		return nil, malformed("devices", 8)
	}
	devs := make([]dmcore.Dev, n)
	for i := range devs {
		devs[i] = devNo(binary.NativeEndian.Uint64(a.data[8+8*i:])).Dev()
	}
	return devs, nil
}

// devNo decodes a number as huge_encode_dev makes it (include/linux/kdev_t.h).
func devNo(v uint64) dmcore.DevNo {
	return dmcore.DevNo{Major: uint32(v >> 8 & 0xfff), Minor: uint32(v&0xff | v>>12&0xfff00)}
}

// info is the device an answer speaks of.
func (a *answer) info() dmcore.Info {
	h := &a.head
	name, _ := text(h.Name[:])
	uuid, _ := text(h.Uuid[:])
	return dmcore.Info{
		Name: unmangle(name), UUID: dmcore.UUID(uuid), Dev: devNo(h.Dev),
		OpenCount: int(h.Open_count), EventNr: h.Event_nr,
		Suspended: h.Flags&flagSuspend != 0, Live: h.Flags&flagActive != 0, Inactive: h.Flags&flagInactive != 0,
		ReadOnly: h.Flags&flagReadOnly != 0, DeferredRemove: h.Flags&flagDeferredRemove != 0,
	}
}
