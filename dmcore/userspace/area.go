package userspace

import (
	"errors"
	"slices"

	"cowhand/dmcore/blockdev"
)

// area is a part of a file.
type area struct{ start, length int64 }

func (a area) overlaps(b area) bool {
	return a.start < b.start+b.length && b.start < a.start+a.length
}

// heldArea is an area that a table maps. Of a block device this host keeps a copy,
// which the kernel's device mapper goes past. Both may have the same disk, each
// its own volumes, and a volume may change hands while the disk stays open: what
// others wrote must be seen by who maps it next, and what was written here must
// not reach the disk after others wrote there.
type heldArea struct {
	file *backing
	dev  blockdev.Evicter
	area
}

// take notes an area that the table maps. If nothing did before, it is read anew.
func (t *table) take(l *lower, a area) error {
	if l.file == nil || a.length == 0 {
		return nil
	}
	dev, ok := l.file.dev.(blockdev.Evicter)
	if !ok {
		return nil
	}
	m := t.owner.m
	m.mu.Lock()
	mapped := slices.ContainsFunc(l.file.areas, a.overlaps)
	l.file.areas = append(l.file.areas, a)
	t.areas = append(t.areas, heldArea{l.file, dev, a})
	m.mu.Unlock()
	if mapped {
		return nil
	}
	return dev.Refresh(a.start, a.length)
}

// leave lets go of the table's areas. Those that nothing maps any more are brought
// to the disk.
func (t *table) leave() error {
	var errs []error
	for _, h := range t.areas {
		m := t.owner.m
		m.mu.Lock()
		i := slices.Index(h.file.areas, h.area)
		h.file.areas = slices.Delete(h.file.areas, i, i+1)
		mapped := slices.ContainsFunc(h.file.areas, h.overlaps)
		m.mu.Unlock()
		if !mapped {
			errs = append(errs, h.dev.Evict(h.start, h.length))
		}
	}
	t.areas = nil
	return errors.Join(errs...)
}
