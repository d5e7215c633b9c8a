package thinmeta

import (
	"fmt"

	"cowhand/dmcore"
)

const (
	superMagic   = 27022010
	superVersion = 2

	superDataRoot = 64
	superMetaRoot = 192
	superRootRoom = 128 // bytes kept for each of them

	flagNeedsCheck = 1

	metaBlockSectors = BlockSize / dmcore.SectorSize
)

// Superblock is where a transaction begins.
type Superblock struct {
	UUID           [16]byte
	Version        uint32
	NeedsCheck     bool   // a commit failed; the kernel lets nothing be changed
	Time           uint32 // grows with each snapshot
	TransactionID  uint64 // is the user's
	HeldRoot       uint64 // block of the metadata snapshot; 0: none
	BlockSize      dmcore.Sectors
	MetadataBlocks uint64 // when the pool was formatted

	flags            uint32 // NeedsCheck apart
	data, meta       smRoot
	mappings         uint64
	details          uint64
	compatReadOnly   uint32
	metaBlockSectors uint32
}

// smRoot is the root of a space map.
type smRoot struct {
	blocks, used uint64
	index        uint64 // the root of a tree, or the index block
	counts       uint64
}

func decodeSMRoot(b []byte) smRoot {
	return smRoot{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:]), le.Uint64(b[24:])}
}

func (r smRoot) encode(b []byte) {
	for i, v := range []uint64{r.blocks, r.used, r.index, r.counts} {
		le.PutUint64(b[i*8:], v)
	}
}

// decodeSuperblock reads a superblock, or the copy that is a metadata snapshot.
func decodeSuperblock(b []byte, nr uint64) (Superblock, error) {
	if magic := le.Uint64(b[32:]); magic != superMagic {
		return Superblock{}, corrupt(nr, "magic number is %d, want %d", magic, superMagic)
	}
	if err := verify(b, nr, superKind); err != nil {
		return Superblock{}, err
	}
	flags := le.Uint32(b[4:])
	s := Superblock{
		UUID:             [16]byte(b[16:32]),
		Version:          le.Uint32(b[40:]),
		NeedsCheck:       flags&flagNeedsCheck != 0,
		Time:             le.Uint32(b[44:]),
		TransactionID:    le.Uint64(b[48:]),
		HeldRoot:         le.Uint64(b[56:]),
		BlockSize:        dmcore.Sectors(le.Uint32(b[336:])),
		MetadataBlocks:   le.Uint64(b[344:]),
		flags:            flags &^ flagNeedsCheck,
		data:             decodeSMRoot(b[superDataRoot:]),
		meta:             decodeSMRoot(b[superMetaRoot:]),
		mappings:         le.Uint64(b[320:]),
		details:          le.Uint64(b[328:]),
		metaBlockSectors: le.Uint32(b[340:]),
		compatReadOnly:   le.Uint32(b[356:]),
	}
	switch incompat := le.Uint32(b[360:]); {
	case incompat != 0:
		return Superblock{}, fmt.Errorf("thin metadata: unknown features %#x: %w", incompat, dmcore.ErrNotSupported)
	case s.Version < 1 || s.Version > superVersion:
		return Superblock{}, fmt.Errorf("thin metadata: version %d: %w", s.Version, dmcore.ErrNotSupported)
	case s.metaBlockSectors != metaBlockSectors:
		return Superblock{}, corrupt(nr, "metadata blocks of %d sectors, want %d", s.metaBlockSectors, metaBlockSectors)
	case !validBlockSize(s.BlockSize):
		return Superblock{}, corrupt(nr, "data blocks of %d sectors", s.BlockSize)
	}
	return s, nil
}

// encode puts the superblock into a block, and leaves there what it does not
// know.
func (s Superblock) encode(b []byte, nr uint64) {
	flags := s.flags
	if s.NeedsCheck {
		flags |= flagNeedsCheck
	}
	le.PutUint32(b[4:], flags)
	copy(b[16:32], s.UUID[:])
	le.PutUint64(b[32:], superMagic)
	le.PutUint32(b[40:], s.Version)
	le.PutUint32(b[44:], s.Time)
	le.PutUint64(b[48:], s.TransactionID)
	le.PutUint64(b[56:], s.HeldRoot)
	s.data.encode(b[superDataRoot:])
	s.meta.encode(b[superMetaRoot:])
	le.PutUint64(b[320:], s.mappings)
	le.PutUint64(b[328:], s.details)
	le.PutUint32(b[336:], uint32(s.BlockSize))
	le.PutUint32(b[340:], s.metaBlockSectors)
	le.PutUint64(b[344:], s.MetadataBlocks)
	le.PutUint32(b[356:], s.compatReadOnly)
	seal(b, nr, superKind)
}

func validBlockSize(s dmcore.Sectors) bool {
	return s >= dmcore.MinThinBlock && s <= dmcore.MaxThinBlock && s%dmcore.MinThinBlock == 0
}
