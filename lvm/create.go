package lvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"cowhand/dmcore/blockdev"
	"cowhand/lvm/ondisk"
)

// PVOptions say how a physical volume is made. The zero value makes what
// `pvcreate` does.
type PVOptions struct {
	ID             ID    // "": a random one
	MetadataSize   int64 // bytes of each metadata area; 0: up to 1 MiB
	NoMetadata     bool  // no metadata area: the group's others must do
	SecondMetadata bool  // another area at the end
	DataAlignment  int64 // bytes; 0: 1 MiB
	Size           int64 // bytes of the device to use; 0: all
	Force          bool  // overwrite a file system, partition table… found there
	ForceUsed      bool  // overwrite a PV whose group was not found
}

// CreatePV makes the device at path, one of Store.Devices, a physical volume. A
// device that belongs to a group, or that has something else on it (unless
// Force), is [ErrInUse]. The caller holds the global lock. A power cut leaves no
// PV or the new one.
func (s *Store) CreatePV(ctx context.Context, path string, o PVOptions) (Volume, error) {
	fail := func(err error) (Volume, error) {
		return Volume{}, &DeviceError{path, -1, fmt.Errorf("create physical volume: %w", err)}
	}
	f, err := s.scan(ctx)
	if err != nil {
		return fail(err)
	}
	if !slices.Contains(s.Devices, path) {
		return fail(fmt.Errorf("is not among the configured devices: %w", ErrInvalid))
	}
	for _, d := range f.disks {
		if d.path != path {
			continue
		}
		if err := f.free(d); err != nil && !(o.ForceUsed && f.owner[d.id] == nil) {
			return fail(err)
		}
	}
	id := o.ID
	if id == "" {
		if id, err = NewID(s.Random); err != nil {
			return fail(err)
		}
	}
	if !id.valid() {
		return fail(fmt.Errorf("id %q: %w", id, ErrInvalid))
	}
	if other := f.byID[id]; len(other) > 0 && other[0].path != path {
		return fail(fmt.Errorf("id %s is on %s: %w", id.Dashed(), other[0].path, ErrExists))
	}
	if err := claimed(path); err != nil {
		return fail(err)
	}
	dev, err := s.Open(path, true)
	if err != nil {
		return fail(err)
	}
	if err := errors.Join(format(dev, id, o), dev.Close(), s.dropHints()); err != nil {
		return fail(err)
	}
	if f, err = s.scan(ctx); err != nil {
		return fail(err)
	}
	for _, d := range f.disks {
		if d.path == path && d.id == id {
			return f.volume(d), nil
		}
	}
	return fail(fmt.Errorf("label is not found again: %w", ErrCorrupt))
}

// format writes an empty PV: no label, then the areas, then the label.
func format(dev blockdev.Device, id ID, o PVOptions) error {
	layout := ondisk.Layout{DeviceSize: uint64(dev.Size()), MetadataSize: uint64(o.MetadataSize), Copies: 1, Alignment: uint64(o.DataAlignment)}
	if o.Size > dev.Size() {
		return fmt.Errorf("%d bytes are to be used, the device has %d: %w", o.Size, dev.Size(), ErrInvalid)
	}
	if o.Size > 0 {
		layout.DeviceSize = uint64(o.Size)
	}
	switch {
	case o.NoMetadata:
		layout.Copies = 0
	case o.SecondMetadata:
		layout.Copies = 2
	}
	areas, start, err := layout.Areas()
	if err != nil {
		return err
	}
	label, err := ondisk.Label{
		Sector: ondisk.DefaultLabelSector, ID: string(id), DeviceSize: layout.DeviceSize,
		Data: []ondisk.Area{{Offset: start}}, Metadata: areas, Extension: ondisk.ExtVersion,
	}.Encode()
	if err != nil {
		return err
	}
	if err := wipe(dev, o.Force); err != nil {
		return err
	}
	for _, a := range areas {
		first := make([]byte, 4096)
		copy(first, ondisk.NewHeader(a).Encode())
		if err := writeFull(dev, first, int64(a.Offset)); err != nil {
			return err
		}
	}
	if err := dev.Sync(); err != nil {
		return err
	}
	if err := writeFull(dev, label, ondisk.DefaultLabelSector*ondisk.SectorSize); err != nil {
		return err
	}
	return dev.Sync()
}

// signature is how something else than a PV is known.
type signature struct {
	name  string
	at    int64 // negative: from the end of the device
	magic string
}

// signatures are those of what one finds on host disks and in guest images
// (util-linux, libblkid/src).
var signatures = []signature{
	{"partition table", 510, "\x55\xaa"},
	{"GPT", 512, "EFI PART"},
	{"GPT", 4096, "EFI PART"},
	{"GPT", -512, "EFI PART"},
	{"ext file system", 1024 + 0x38, "\x53\xef"},
	{"xfs file system", 0, "XFSB"},
	{"btrfs file system", 64<<10 + 0x40, "_BHRfS_M"},
	{"swap", 4096 - 10, "SWAPSPACE2"},
	{"swap", 4096 - 10, "SWAP-SPACE"},
	{"LUKS", 0, "LUKS\xba\xbe"},
	{"qcow2 image", 0, "QFI\xfb"},
	{"ISO 9660 file system", 32<<10 + 1, "CD001"},
	{"f2fs file system", 1024, "\x10\x20\xf5\xf2"},
	{"NTFS file system", 3, "NTFS    "},
	{"md member", 4096, "\xfc\x4e\x2b\xa9"},
	{"md member", 0, "\xfc\x4e\x2b\xa9"},
	{"bcache", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81"},
}

// SignatureError is a device that holds something else than a PV.
type SignatureError struct{ What string }

func (e *SignatureError) Error() string { return fmt.Sprintf("has a %s: %v", e.What, ErrInUse) }

func (e *SignatureError) Unwrap() error { return ErrInUse }

// wipe removes the labels and, with force, what else says that the device is in
// use; without force that is [ErrInUse].
func wipe(dev blockdev.Device, force bool) error {
	var found []int
	for i, sig := range signatures {
		at := sig.offset(dev.Size())
		b := make([]byte, len(sig.magic))
		if at < 0 || at+int64(len(b)) > dev.Size() {
			continue
		}
		if err := readFull(dev, b, at); err != nil {
			return err
		}
		if string(b) != sig.magic {
			continue
		}
		if !force {
			return &SignatureError{sig.name}
		}
		found = append(found, i)
	}
	for _, i := range found {
		sig := signatures[i]
		if err := writeFull(dev, make([]byte, len(sig.magic)), sig.offset(dev.Size())); err != nil {
			return err
		}
	}
	if err := writeFull(dev, make([]byte, ondisk.LabelSectors*ondisk.SectorSize), 0); err != nil {
		return err
	}
	return dev.Sync()
}

func (sig signature) offset(size int64) int64 {
	if sig.at < 0 {
		return size + sig.at
	}
	return sig.at
}

// RemovePV makes a PV that is in no group a plain device again.
func (s *Store) RemovePV(ctx context.Context, path string) error {
	fail := func(err error) error {
		return &DeviceError{path, -1, fmt.Errorf("remove physical volume: %w", err)}
	}
	f, err := s.scan(ctx)
	if err != nil {
		return fail(err)
	}
	d, err := f.at(path)
	if err == nil {
		err = f.free(d)
	}
	if err == nil {
		err = claimed(path)
	}
	if err != nil {
		return fail(err)
	}
	dev, err := s.Open(path, true)
	if err != nil {
		return fail(err)
	}
	err = writeFull(dev, make([]byte, ondisk.LabelSectors*ondisk.SectorSize), 0)
	if err == nil {
		err = dev.Sync()
	}
	if err = errors.Join(err, dev.Close(), s.dropHints()); err != nil {
		return fail(err)
	}
	return nil
}

// at returns the PV on a device.
func (f *found) at(path string) (*disk, error) {
	i := slices.IndexFunc(f.disks, func(d *disk) bool { return d.path == path })
	if i < 0 {
		return nil, fmt.Errorf("physical volume: %w", ErrNotFound)
	}
	return f.disks[i], nil
}

// dropHints removes lvm2's list of which PV is where (lib/label/hints.c): it is
// wrong once PVs or groups come or go.
func (s *Store) dropHints() error {
	if s.Hints == "" {
		return nil
	}
	if err := os.Remove(s.Hints); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
