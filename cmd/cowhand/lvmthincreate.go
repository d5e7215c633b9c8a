package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"cowhand/dmcore"
	"cowhand/lvm"
)

// wantsThin tells whether lvcreate is to make a thin pool or something in one: it
// is asked for, or a snapshot is, of a thin volume and without a size.
func (r *lvmRun) wantsThin(ctx context.Context) (bool, error) {
	a := r.args
	t := a.get("type")
	if a.has("thin") && a.has("snapshot") && t == "" {
		return false, usagef("Please give --thin or --snapshot, not both.") // as lvm2: man lvcreate does not say so
	}
	if a.has("thin") || a.has("thinpool") || a.has("virtualsize") || strings.HasPrefix(t, "thin") {
		return true, nil
	}
	if !a.has("snapshot") || a.has("size") || a.has("extents") || len(a.words) == 0 {
		return false, nil
	}
	origin, err := lvmRef(a.words[0], "")
	if err != nil {
		return false, err
	}
	e, _, err := r.observer()
	if err != nil {
		return false, err
	}
	vg, err := e.Group(ctx, origin.VG)
	if err != nil {
		return false, err
	}
	lv := vg.LV(origin.LV)
	return lv != nil && lv.Thin() != nil, nil
}

// thinWish is what lvcreate is asked to make: a pool, a volume in one, or both.
type thinWish struct {
	vg      string
	pool    lvm.ThinPoolSpec
	thin    lvm.ThinSpec
	newPool bool
	newThin bool
	active  bool
	paths   []string // to allocate from
}

func (r *lvmRun) createThin(ctx context.Context) error {
	w, err := r.thinWish()
	if err != nil {
		return err
	}
	e, vg, err := r.group(ctx, w.vg)
	if err != nil {
		return err
	}
	if w.thin.Origin != "" && w.thin.Pool == "" {
		origin := vg.LV(w.thin.Origin)
		if origin == nil {
			return &lvm.Error{VG: w.vg, LV: w.thin.Origin, Err: lvm.ErrNotFound}
		}
		if origin.Thin() == nil {
			return usagef("%s/%s is no thin volume: please specify a size, or a pool with --thinpool", w.vg, w.thin.Origin)
		}
		w.thin.Pool = origin.Thin().Pool
	}
	if w.newPool {
		if w.pool.PVs, err = pvNames(vg, r.host, w.paths); err != nil {
			return err
		}
		name, notes, err := e.CreateThinPool(ctx, w.vg, w.pool, w.active)
		if err != nil {
			return err
		}
		for _, n := range notes {
			r.warn("%s", upperFirst(n))
		}
		if w.thin.Pool = name; !w.newThin {
			r.say("Logical volume %q created.", name)
			return nil
		}
	}
	if _, note, err := w.thin.Size.Extents(vg, lvm.Basis{}); err == nil && note != "" {
		r.warn("%s", upperFirst(note))
	}
	options := lvm.ThinOptions{Activate: w.active, IgnoreSkip: r.args.has("ignoreactivationskip"), NoZero: w.newPool && w.pool.NoZero && r.args.has("zero")}
	names, err := e.CreateThins(ctx, w.vg, []lvm.ThinSpec{w.thin}, options)
	if err != nil {
		return err
	}
	if err := r.overprovisioned(ctx, e, lvm.Ref{VG: w.vg, LV: w.thin.Pool}); err != nil {
		return err
	}
	r.say("Logical volume %q created.", names[0])
	return nil
}

// overprovisioned tells what LVM2 tells of pools that may not hold all that their
// volumes promise, when a volume was made or is longer.
func (r *lvmRun) overprovisioned(ctx context.Context, e *lvm.Engine, ref lvm.Ref) error {
	vg, err := e.Group(ctx, ref.VG)
	if err != nil {
		return err
	}
	set, err := r.lvm2Settings()
	if err != nil {
		return err
	}
	policy := lvm.ExtendPolicy{Threshold: int(set.Activation.ThinPoolAutoextendThreshold), Amount: int(set.Activation.ThinPoolAutoextendPercent)}
	for _, line := range vg.Overprovisioned(ref.LV, policy, lvmHuman) {
		r.warn("%s", line)
	}
	return nil
}

// thinWish reads the command line (lvm2 2.03.16, tools/lvcreate.c,
// _lvcreate_name_params and _lvcreate_params).
func (r *lvmRun) thinWish() (w thinWish, err error) {
	a := r.args
	t := a.get("type")
	w.newPool = a.has("size") || a.has("extents")
	w.newThin = a.has("virtualsize")
	if t == "thin" && w.newPool && !w.newThin {
		return w, usagef("thin segment type requires --virtualsize")
	}
	if t == "thin-pool" && (w.newThin || !w.newPool) {
		return w, usagef("a thin pool is made of a size, and has no virtual size")
	}
	name, err := r.thinName(&w, "name")
	if err != nil {
		return w, err
	}
	pool, err := r.thinName(&w, "thinpool")
	if err != nil {
		return w, err
	}
	snapshot := !w.newPool && !w.newThin
	if a.has("snapshot") && !snapshot {
		return w, usagef("please either create a snapshot or a thin volume or pool")
	}
	if snapshot {
		err = r.thinOrigin(&w)
	} else {
		pool, err = r.thinPlace(&w, pool)
	}
	if err != nil {
		return w, err
	}
	if w.newPool && !w.newThin && name != "" {
		if pool != "" && pool != name {
			return w, usagef("ambiguous names of the thin pool: %s and %s", name, pool)
		}
		pool, name = name, ""
	}
	if pool == "" && w.newThin && !w.newPool && !snapshot {
		return w, usagef("please specify the name of an existing thin pool")
	}
	if pool != "" && pool == name {
		return w, usagef("the names of volume and pool must differ: %s", name)
	}
	w.pool.Name, w.thin.Pool, w.thin.Name = pool, pool, name
	for _, n := range []string{name, pool} {
		if n != "" && (n == name || w.newPool) {
			if err := lvmNewName(w.vg, n); err != nil {
				return w, err
			}
		}
	}
	if err := r.thinPoolFlags(&w); err != nil {
		return w, err
	}
	return w, r.thinFlags(&w)
}

// thinName reads a name that may have a group before it.
func (r *lvmRun) thinName(w *thinWish, flag string) (string, error) {
	name := r.args.get(flag)
	if !strings.Contains(name, "/") {
		return name, nil
	}
	ref, err := lvmRef(name, "")
	if err != nil {
		return "", err
	}
	return ref.LV, w.in(ref.VG)
}

// in makes sure that only one group is meant.
func (w *thinWish) in(vg string) error {
	if w.vg != "" && vg != w.vg {
		return usagef("want one volume group, not %s and %s", w.vg, vg)
	}
	w.vg = vg
	return nil
}

// thinOrigin reads what a snapshot is to be taken of.
func (r *lvmRun) thinOrigin(w *thinWish) error {
	if len(r.args.words) != 1 {
		return usagef("please specify the origin of the thin snapshot")
	}
	origin, err := lvmRef(r.args.words[0], w.vg)
	if err != nil {
		return err
	}
	w.newThin, w.thin.Origin = true, origin.LV
	return w.in(origin.VG)
}

// thinPlace reads the group, or VG/POOL, and the devices to allocate from.
func (r *lvmRun) thinPlace(w *thinWish, pool string) (string, error) {
	words := r.args.words
	if len(words) == 0 {
		if w.vg == "" {
			w.vg = strings.TrimPrefix(os.Getenv("LVM_VG_NAME"), "/dev/")
		}
		if w.vg == "" {
			return "", usagef("please provide a volume group name")
		}
		return pool, nil
	}
	vg, lv, err := splitName(strings.TrimRight(words[0], "/"))
	if err != nil {
		return "", usagef("%s", err)
	}
	if err := w.in(vg); err != nil {
		return "", err
	}
	if lv != "" {
		if pool != "" && pool != lv {
			return "", usagef("ambiguous names of the thin pool: %s and %s", pool, lv)
		}
		pool = lv
	}
	if w.paths = words[1:]; len(w.paths) > 0 && !w.newPool {
		return "", usagef("only specify physical volumes when a thin pool is made")
	}
	return pool, nil
}

// thinPoolFlags reads what a new pool is to be like.
func (r *lvmRun) thinPoolFlags(w *thinWish) (err error) {
	a := r.args
	if !w.newPool {
		for _, flag := range []string{"poolmetadatasize", "poolmetadataspare", "chunksize", "discards", "errorwhenfull", "zero", "stripes", "stripesize"} {
			if a.has(flag) {
				return usagef("--%s is only of use when a thin pool is made", flag)
			}
		}
		return nil
	}
	if w.pool.Size, _, err = r.sizeFlags(); err != nil {
		return err
	}
	return r.thinPoolTraits(w)
}

// thinPoolTraits reads what beside its size a new pool is to be like.
func (r *lvmRun) thinPoolTraits(w *thinWish) (err error) {
	a := r.args
	var signed bool
	if w.pool.Metadata, signed, err = r.metadataSize(); err != nil || signed {
		if signed {
			err = lvmValue("poolmetadatasize", a.get("poolmetadatasize"))
		}
		return err
	}
	if w.pool.Chunk, err = r.sectors("chunksize"); err != nil {
		return err
	}
	if a.has("chunksize") {
		if err := lvm.CheckThinChunk(w.pool.Chunk); err != nil {
			return usagef("%s", err)
		}
	}
	lvm2, err := r.lvm2Settings() // have what the command line does not say
	if err != nil {
		return err
	}
	set := lvm2.Allocation
	if n := set.ThinPoolChunkSize; !a.has("chunksize") && n != 0 {
		w.pool.Chunk = dmcore.Sectors(max(n, 0)) * 2
		if err := lvm.CheckThinChunk(w.pool.Chunk); err != nil {
			return fmt.Errorf("%s: allocation/thin_pool_chunk_size: %w", lvm2.Where("allocation/thin_pool_chunk_size"), err)
		}
	}
	if w.pool.Discards = orString(a.get("discards"), set.ThinPoolDiscards); w.pool.Discards != "" {
		if err := lvm.CheckDiscards(w.pool.Discards); err != nil {
			return lvmValue("discards", w.pool.Discards)
		}
	}
	zero, err := a.yesNo("zero", set.ThinPoolZero)
	if err != nil {
		return err
	}
	spare, err := a.yesNo("poolmetadataspare", true)
	if err != nil {
		return err
	}
	w.pool.NoZero, w.pool.NoSpare = !zero, !spare
	if w.pool.ErrorWhenFull, err = a.yesNo("errorwhenfull", false); err != nil {
		return err
	}
	if w.pool.Stripes, err = a.number("stripes", 1, 1, 128); err != nil {
		return err
	}
	if w.pool.StripeSize, err = r.sectors("stripesize"); err != nil {
		return err
	}
	w.pool.Tags = a.tags("addtag")
	if w.pool.Traits, err = r.traits(); err != nil {
		return err
	}
	switch {
	case w.newThin && a.has("readahead"):
		return fmt.Errorf("--readahead: of the pool or of the volume in it: make one after the other: %w", lvm.ErrInvalid)
	case !w.newThin && w.pool.Traits.Number != nil:
		return fmt.Errorf("--minor: a thin pool has no device number of its own: %w", errors.ErrUnsupported)
	}
	w.pool.Traits.Number = nil
	return nil
}

// metadataSize reads --poolmetadatasize. A sign is told apart.
func (r *lvmRun) metadataSize() (s lvm.Size, more bool, err error) {
	if !r.args.has("poolmetadatasize") {
		return s, false, nil
	}
	text, more := strings.CutPrefix(r.args.get("poolmetadatasize"), "+")
	if s, err = lvm.ParseSize(text); err != nil || s.Percent > 0 {
		return s, false, lvmValue("poolmetadatasize", r.args.get("poolmetadatasize"))
	}
	return s, more, nil
}

// thinFlags reads what a new volume is to be like.
func (r *lvmRun) thinFlags(w *thinWish) (err error) {
	a := r.args
	readOnly, err := r.permission()
	if err != nil {
		return err
	}
	if w.active, _, err = a.activation(true); err != nil {
		return err
	}
	if !w.newThin {
		if readOnly {
			return usagef("a thin pool cannot be read-only")
		}
		return nil
	}
	w.thin.ReadOnly = readOnly
	if w.thin.Traits, err = r.traits(); err != nil {
		return err
	}
	if a.has("virtualsize") {
		if w.thin.Size, err = lvm.ParseSize(a.get("virtualsize")); err != nil {
			return usagef("%s", err)
		}
	}
	if a.has("setactivationskip") {
		skip, err := a.yesNo("setactivationskip", false)
		if err != nil {
			return err
		}
		w.thin.Skip = &skip
	}
	if !w.newPool { // of both, LVM2 gives the tags to the pool
		w.thin.Tags = a.tags("addtag")
	}
	return nil
}
