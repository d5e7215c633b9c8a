package thinmeta

import (
	"errors"
	"fmt"

	"cowhand/dmcore"
)

// Devices lists the thin devices by their numbers.
func (p *Pool) Devices() (devices []Device, err error) {
	err = p.Read(func(r *Reader) error {
		devices, err = r.Devices()
		return err
	})
	return devices, err
}

// Device finds a thin device; dmcore.ErrNotFound if there is none.
func (p *Pool) Device(id uint32) (d Device, err error) {
	err = p.Read(func(r *Reader) error {
		d, err = r.Device(id)
		return err
	})
	return d, err
}

// mayCreate refuses ids that are taken or cannot be.
func mayCreate(r *Reader, id uint32) error {
	if id > dmcore.MaxThinID {
		return fmt.Errorf("thin device %d: the highest id is %d: %w", id, dmcore.MaxThinID, dmcore.ErrInvalid)
	}
	_, err := r.Device(id)
	switch {
	case err == nil:
		return fmt.Errorf("thin device %d: %w", id, dmcore.ErrExists)
	case errors.Is(err, dmcore.ErrNotFound):
		return nil
	}
	return err
}

// CreateThin makes an empty thin device. dmcore.ErrExists says that the id is
// taken.
func (p *Pool) CreateThin(id uint32) error {
	return p.change(grows, func(r *Reader) error { return mayCreate(r, id) }, func() error {
		root, err := p.addTree(mappingValues)
		if err != nil {
			return err
		}
		return p.addDevice(id, root, Details{CreationTime: p.sb.Time, SnapshottedTime: p.sb.Time})
	})
}

// CreateSnapshot makes a thin device that shares all blocks with another, its
// origin. From then on blocks of either have to be copied before they are
// written; the origin must not be written meanwhile.
func (p *Pool) CreateSnapshot(id, origin uint32) error {
	var from Device
	var root uint64
	check := func(r *Reader) (err error) {
		if err := mayCreate(r, id); err != nil {
			return err
		}
		if from, err = r.Device(origin); err != nil {
			return err
		}
		if p.sb.Time >= timeMask {
			return fmt.Errorf("thin device %d: no more than %d snapshots can be made in a pool: %w", id, timeMask, dmcore.ErrInvalid)
		}
		root, err = r.root(origin)
		return err
	}
	return p.change(grows, check, func() error {
		if err := p.meta.inc(root); err != nil {
			return err
		}
		p.sb.Time++
		details := Details{from.MappedBlocks, 0, p.sb.Time, p.sb.Time}
		if err := p.addDevice(id, root, details); err != nil {
			return err
		}
		return p.editDetails(origin, func(d *Details) { d.SnapshottedTime = p.sb.Time })
	})
}

// addDevice adds a device to the trees.
func (p *Pool) addDevice(id uint32, root uint64, d Details) (err error) {
	d.TransactionID = p.sb.TransactionID
	if p.sb.mappings, _, err = p.insert(p.sb.mappings, topValues, uint64(id), le.AppendUint64(nil, root)); err != nil {
		return err
	}
	p.sb.details, _, err = p.insert(p.sb.details, detailsValues, uint64(id), encodeDetails(d))
	return err
}

// editDetails changes the details of a device.
func (p *Pool) editDetails(id uint32, f func(d *Details)) error {
	root, value, err := p.edit(p.sb.details, detailsValues, uint64(id))
	if err != nil {
		return err
	}
	p.sb.details = root
	d := decodeDetails(value)
	f(&d)
	copy(value, encodeDetails(d))
	return nil
}

// Delete deletes a thin device and lets go what it does not share.
func (p *Pool) Delete(id uint32) error {
	check := func(r *Reader) error {
		_, err := r.Device(id)
		return err
	}
	return p.change(shrinks, check, func() (err error) {
		key := uint64(id)
		if p.sb.details, _, err = p.remove(p.sb.details, detailsValues, key, key); err != nil {
			return err
		}
		p.sb.mappings, _, err = p.remove(p.sb.mappings, topValues, key, key)
		return err
	})
}

// SetTransactionID changes the number that the pool keeps for its user.
// dmcore.ErrInvalid says that it was another.
func (p *Pool) SetTransactionID(from, to uint64) error {
	check := func(r *Reader) error {
		if is := r.sb.TransactionID; is != from {
			return fmt.Errorf("thin metadata: transaction id is %d, not %d: %w", is, from, dmcore.ErrInvalid)
		}
		return nil
	}
	return p.change(shrinks, check, func() error {
		p.sb.TransactionID = to
		return nil
	})
}

// ReserveMetadataSnapshot commits, and then keeps that transaction for others to
// read, from the next commit on. There can be one only: dmcore.ErrBusy.
func (p *Pool) ReserveMetadataSnapshot() error {
	p.writer.Lock()
	defer p.writer.Unlock()
	if err := p.commit(); err != nil {
		return err
	}
	p.state.Lock()
	defer p.state.Unlock()
	check := func(r *Reader) error {
		if r.sb.HeldRoot != 0 {
			return fmt.Errorf("thin metadata: a metadata snapshot in block %d: %w", r.sb.HeldRoot, dmcore.ErrBusy)
		}
		return nil
	}
	return p.changeLocked(grows, check, func() error {
		b := append([]byte(nil), p.super...)
		clear(b[superDataRoot : superMetaRoot+superRootRoom])
		nr, err := p.add(superKind, b)
		if err != nil {
			return err
		}
		seal(b, nr, superKind)
		p.sb.HeldRoot = nr
		if err := p.meta.inc(p.sb.mappings); err != nil {
			return err
		}
		return p.meta.inc(p.sb.details)
	})
}

// ReleaseMetadataSnapshot lets the metadata snapshot go. dmcore.ErrInvalid says
// that there is none.
func (p *Pool) ReleaseMetadataSnapshot() error {
	var held *Reader
	check := func(r *Reader) (err error) {
		if r.sb.HeldRoot == 0 {
			return fmt.Errorf("thin metadata: no metadata snapshot: %w", dmcore.ErrInvalid)
		}
		held, err = r.Held()
		return err
	}
	return p.change(shrinks, check, func() error {
		nr := p.sb.HeldRoot
		p.sb.HeldRoot = 0
		if err := p.del(held.sb.mappings, topValues, 0); err != nil {
			return err
		}
		if err := p.del(held.sb.details, detailsValues, 0); err != nil {
			return err
		}
		return p.meta.dec(nr)
	})
}
