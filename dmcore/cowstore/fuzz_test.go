package cowstore

import (
	"errors"
	"slices"
	"testing"

	"cowhand/dmcore"
	"cowhand/dmcore/blockdev"
)

func FuzzOpen(f *testing.F) {
	head := func(chunk dmcore.Sectors, ex ...Exception) []byte {
		b := make([]byte, 3*4096)
		copy(b, encodeHeader(true, chunk))
		for i, e := range ex {
			putException(b[4096:], uint64(i), e)
		}
		return b
	}
	f.Add([]byte{}, uint32(0))
	f.Add(head(8, Exception{7, 2}), uint32(1000))
	f.Add(head(8, Exception{7, 3}, Exception{9, 2}), uint32(1000))
	f.Add(head(1024), uint32(1<<20))
	f.Fuzz(func(t *testing.T, b []byte, more uint32) {
		dev := blockdev.NewMemBytes(b)
		dev.Resize(dev.Size() + int64(more)) // sparse: it takes no room
		chunk, valid, ex, err := Read(dev)
		s, oerr := Open(dev, 8)
		if err != nil {
			if oerr == nil {
				t.Fatalf("opens, but is not read: %v", err)
			}
			return
		}
		if oerr != nil {
			if chunk == 0 && errors.Is(oerr, ErrFull) {
				return // too small to be formatted
			}
			t.Fatalf("is read, but does not open: %v", oerr)
		}
		if s.Len() != len(ex) || s.Valid() != valid || chunk != 0 && s.ChunkSize() != chunk {
			t.Fatalf("opens with %d, valid %t, chunk %d; read %d, %t, %d", s.Len(), s.Valid(), s.ChunkSize(), len(ex), valid, chunk)
		}
		if !valid {
			return
		}
		// It can go on: one more exception is there after opening again.
		new, err := s.Allocate()
		if errors.Is(err, ErrFull) {
			return
		}
		must(t, err)
		old := uint64(0)
		for _, ok := s.Lookup(old); ok; _, ok = s.Lookup(old) {
			old++
		}
		must(t, s.Commit([]Exception{{old, new}}))
		_, _, got, err := Read(dev)
		must(t, err)
		if !slices.Equal(got, append(ex, Exception{old, new})) {
			t.Fatalf("after a commit of %d → %d: %d exceptions, had %d", old, new, len(got), len(ex))
		}
	})
}
