package engine

import (
	"context"
	"errors"
	"fmt"

	"cowhand/dmcore"
)

// Rebuild is a Restore that makes the very same devices again, without asking
// any metadata: what was live then is live now, and no merge begins that had
// not begun. It makes all it can, and its error tells of the rest.
//
// Of an engine that died within a suspend window it knows the tables of before
// the window. Whether these are still the right ones only metadata tells: with
// volumes that have any, use a Restore that reads it.
func Rebuild(ctx context.Context, ctl dmcore.Control, was []Was) error {
	r := rebuilder{dmcore.NewClient(ctl), map[dmcore.UUID]Was{}, map[dmcore.UUID]error{}}
	for _, w := range was {
		if w.Info.UUID != "" {
			r.was[w.Info.UUID] = w
		}
	}
	var errs []error
	for _, w := range was {
		if err := r.rebuild(ctx, w, 0); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

type rebuilder struct {
	dm   *dmcore.Client
	was  map[dmcore.UUID]Was
	done map[dmcore.UUID]error
}

// rebuild makes a device after those it stands on.
func (r *rebuilder) rebuild(ctx context.Context, w Was, depth int) error {
	id := w.Info.UUID
	if err, done := r.done[id]; done && id != "" {
		return err
	}
	if depth > len(r.was) {
		return fmt.Errorf("device %s: stands on itself: %w", w.Info.Name, dmcore.ErrInvalid)
	}
	err := r.make(ctx, w, depth)
	r.done[id] = err
	return err
}

func (r *rebuilder) make(ctx context.Context, w Was, depth int) error {
	table, err := w.Table.Resolve(func(d dmcore.Dev) (dmcore.Dev, error) {
		id, ok := d.UUID()
		if !ok {
			return d, nil
		}
		if under, ok := r.was[id]; ok {
			if err := r.rebuild(ctx, under, depth+1); err != nil {
				return d, err
			}
		}
		info, ok, err := r.dm.Find(ctx, id)
		if err == nil && !ok {
			err = fmt.Errorf("device %s: stands on %s, which is not there: %w", w.Info.Name, id, dmcore.ErrNotFound)
		}
		return info.Dev.Dev(), err
	})
	if err != nil {
		return err
	}
	if _, err := r.dm.Create(ctx, w.Info.Name, w.Info.UUID); err != nil {
		return err
	}
	by := address(w.Info)
	for _, step := range []dmcore.Command{dmcore.Load, dmcore.Resume} {
		req := *by
		if step == dmcore.Load {
			req.Table, req.ReadOnly = table, w.Info.ReadOnly
		}
		if _, err := r.dm.Control().Do(ctx, step, &req); err != nil {
			return err
		}
	}
	return nil
}
