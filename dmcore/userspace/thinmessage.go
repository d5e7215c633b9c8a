package userspace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"cowhand/dmcore"
	"cowhand/dmcore/thinmeta"
)

// messenger is a target that takes messages.
type messenger interface{ message(args []string) error }

// message carries out a message and commits (drivers/md/dm-thin.c, pool_message).
// That it was not committed is an error here.
func (b *poolTarget) message(args []string) error {
	p := b.pool
	p.tx.Lock()
	defer p.tx.Unlock()
	if mode := p.modeNow(); mode >= poolOutOfMetadata {
		return fmt.Errorf("the pool is %s: %w", mode.word(), dmcore.ErrNotSupported)
	}
	do, err := p.parse(args)
	if err != nil {
		return err
	}
	err = p.changed(do())
	if errors.Is(err, thinmeta.ErrMetadataFull) {
		if err := p.commitLocked(); err != nil {
			return err
		}
		err = p.changed(do())
	}
	if err != nil {
		return err
	}
	return p.commitLocked()
}

func (p *thinPool) parse(args []string) (do func() error, err error) {
	var n []uint64
	for _, a := range args[1:] {
		v, err := strconv.ParseUint(a, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("message %q: %q is no number: %w", args[0], a, dmcore.ErrInvalid)
		}
		n = append(n, v)
	}
	kind, want, ids := strings.ToLower(args[0]), 0, 0
	switch kind {
	case "create_thin":
		want, ids = 1, 1
		do = func() error { return p.meta.CreateThin(uint32(n[0])) }
	case "create_snap":
		want, ids = 2, 2
		do = func() error {
			p.syncAll = true // a snapshot is to be on disk what it is
			return p.meta.CreateSnapshot(uint32(n[0]), uint32(n[1]))
		}
	case "delete":
		want, ids = 1, 1
		do = func() error { return p.delete(uint32(n[0])) }
	case "set_transaction_id":
		want = 2
		do = func() error { return p.meta.SetTransactionID(n[0], n[1]) }
	case "reserve_metadata_snap":
		do = p.meta.ReserveMetadataSnapshot
	case "release_metadata_snap":
		do = p.meta.ReleaseMetadataSnapshot
	default:
		return nil, fmt.Errorf("message %q is unknown to a thin pool: %w", args[0], dmcore.ErrInvalid)
	}
	if len(n) != want {
		return nil, fmt.Errorf("message %q: %d arguments, want %d: %w", args[0], len(n), want, dmcore.ErrInvalid)
	}
	for _, id := range n[:ids] {
		if id > uint64(dmcore.MaxThinID) {
			return nil, fmt.Errorf("message %q: id %d, the highest is %d: %w", args[0], id, dmcore.MaxThinID, dmcore.ErrInvalid)
		}
	}
	return do, nil
}

// delete deletes a thin device that nobody maps.
func (p *thinPool) delete(id uint32) error {
	p.mu.Lock()
	open := p.opened[id] != nil
	p.mu.Unlock()
	if open {
		return fmt.Errorf("thin device %d is active: %w", id, dmcore.ErrBusy)
	}
	return p.meta.Delete(id)
}
