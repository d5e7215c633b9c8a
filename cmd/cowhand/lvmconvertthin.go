package main

import (
	"context"
	"errors"
	"fmt"

	"cowhand/lvm"
)

// wantsThinConversion tells that lvconvert is to make a thin pool of a volume, or a
// thin volume of one.
func (r *lvmRun) wantsThinConversion() bool {
	t := r.args.get("type")
	return r.args.has("thin") || r.args.has("thinpool") || r.args.has("swapmetadata") || t == "thin" || t == "thin-pool"
}

// convertThin is "lvconvert --thinpool VG/LV", "--type thin-pool VG/LV" and
// "--thin --thinpool VG/POOL VG/LV".
func (r *lvmRun) convertThin(ctx context.Context) error {
	a := r.args
	t := a.get("type")
	makesThin := a.has("thin") || t == "thin"
	if makesThin && t == "thin-pool" {
		return usagef("please ask for a thin volume or for a thin pool")
	}
	if a.has("swapmetadata") {
		if len(a.words) != 1 || !a.has("poolmetadata") {
			return usagef("please give a pool, and the volume to exchange its metadata with (--poolmetadata)")
		}
		pool, err := lvmRef(a.words[0], "")
		if err != nil {
			return err
		}
		return r.swapMetadata(ctx, pool)
	}
	if !makesThin {
		words := a.words
		if a.has("thinpool") {
			words = append([]string{a.get("thinpool")}, words...)
		}
		if len(words) == 0 {
			return usagef("please give the volume that is to be a thin pool")
		}
		pool, err := lvmRef(words[0], "")
		if err != nil {
			return err
		}
		return r.toPool(ctx, pool, words[1:])
	}
	if len(a.words) == 0 {
		return usagef("please give the volume that is to be thin")
	}
	ref, err := lvmRef(a.words[0], "")
	if err != nil {
		return err
	}
	if !a.has("thinpool") {
		return fmt.Errorf("%s: thin without a pool: name one with --thinpool: %w", ref, errors.ErrUnsupported)
	}
	pool, err := lvmRef(a.get("thinpool"), ref.VG)
	if err != nil {
		return err
	}
	if pool.VG != ref.VG {
		return usagef("%s, %s: want one volume group", ref, pool)
	}
	if pool == ref {
		return fmt.Errorf("%s: its own pool: %w", ref, lvm.ErrInvalid)
	}
	return r.toThin(ctx, ref, pool, a.words[1:])
}

// conversion reads how a pool is to be.
func (r *lvmRun) conversion(vg *lvm.VG, paths []string) (c lvm.PoolConversion, err error) {
	a := r.args
	if a.has("poolmetadata") {
		for _, flag := range []string{"poolmetadatasize", "stripes", "stripesize", "readahead"} {
			if a.has(flag) {
				return c, usagef("--%s is of a new metadata volume, and --poolmetadata names one that is there", flag)
			}
		}
		ref, err := lvmRef(a.get("poolmetadata"), vg.Name)
		if err != nil {
			return c, err
		}
		if ref.VG != vg.Name {
			return c, usagef("%s is not in %s", ref, vg.Name)
		}
		c.Metadata = ref.LV
	}
	w := thinWish{newPool: true, pool: lvm.ThinPoolSpec{Size: lvm.Size{Count: 1}}} // its size is the volume's
	if err := r.thinPoolTraits(&w); err != nil {
		return c, err
	}
	c.Spec = w.pool
	c.Spec.Tags, c.Spec.Stripes, c.Spec.StripeSize = nil, 0, 0
	c.Spec.PVs, err = pvNames(vg, r.host, paths)
	return c, err
}

func (r *lvmRun) toPool(ctx context.Context, ref lvm.Ref, paths []string) error {
	e, vg, err := r.group(ctx, ref.VG)
	if err != nil {
		return err
	}
	if lv := vg.LV(ref.LV); lv != nil && lv.ThinPool() != nil && r.args.has("poolmetadata") && r.args.get("type") != "thin-pool" {
		return r.swapMetadata(ctx, ref) // as lvm2 did before there was --swapmetadata
	}
	c, err := r.conversion(vg, paths)
	if err != nil {
		return err
	}
	return r.makePool(ctx, e, vg, ref, c)
}

func (r *lvmRun) makePool(ctx context.Context, e *lvm.Engine, vg *lvm.VG, ref lvm.Ref, c lvm.PoolConversion) error {
	c.LV = ref.LV
	_, notes, err := vg.Clone().ConvertPool(c) // before anybody is asked
	if err != nil {
		return err
	}
	for _, n := range notes {
		r.warn("%s", upperFirst(n))
	}
	what := ref.String()
	if c.Metadata != "" {
		what += " and " + lvm.Ref{VG: ref.VG, LV: c.Metadata}.String()
	}
	if err := r.agreed(fmt.Sprintf("What is on %s will be lost. Do you really want to make it a thin pool?", what)); err != nil {
		return err
	}
	if _, err := e.ConvertPool(ctx, ref.VG, c); err != nil {
		return err
	}
	r.say("Converted %s to thin pool.", what)
	return nil
}

func (r *lvmRun) toThin(ctx context.Context, ref, pool lvm.Ref, paths []string) error {
	e, vg, err := r.group(ctx, ref.VG)
	if err != nil {
		return err
	}
	if vg.LV(ref.LV) == nil {
		return &lvm.Error{VG: ref.VG, LV: ref.LV, Err: lvm.ErrNotFound}
	}
	origin := r.args.get("originname")
	if origin != "" {
		name, err := lvmRef(origin, ref.VG)
		if err != nil {
			return err
		}
		if name.VG != ref.VG {
			return usagef("%s, %s: want one volume group", ref, name)
		}
		if origin = name.LV; vg.LV(origin) != nil {
			return &lvm.Error{VG: ref.VG, LV: origin, Op: "external origin", Err: lvm.ErrExists}
		}
		if err := lvmNewName(ref.VG, origin); err != nil {
			return err
		}
	}
	thin := lvm.ThinConversion{LV: ref.LV, Pool: pool.LV, Origin: origin}
	if lv := vg.LV(pool.LV); lv != nil && lv.ThinPool() == nil {
		c, err := r.conversion(vg, paths)
		if err != nil {
			return err
		}
		c.LV = pool.LV
		next := vg.Clone() // what is lost is not to be lost for nothing
		if _, _, err := next.ConvertPool(c); err != nil {
			return err
		}
		if err := next.CanConvertThin(thin); err != nil {
			return err
		}
		if err := r.makePool(ctx, e, vg, pool, c); err != nil {
			return err
		}
	}
	if origin, err = e.ConvertThin(ctx, ref.VG, thin); err != nil {
		return err
	}
	r.say("Converted %s to thin volume with external origin %s.", ref, lvm.Ref{VG: ref.VG, LV: origin})
	return nil
}

func (r *lvmRun) swapMetadata(ctx context.Context, pool lvm.Ref) error {
	other, err := lvmRef(r.args.get("poolmetadata"), pool.VG)
	if err != nil {
		return err
	}
	if other.VG != pool.VG {
		return usagef("%s, %s: want one volume group", pool, other)
	}
	e, vg, err := r.group(ctx, pool.VG)
	if err != nil {
		return err
	}
	if err := vg.Clone().SwapPoolMetadata(pool.LV, other.LV); err != nil {
		return err
	}
	if err := r.agreed(fmt.Sprintf("Do you want to swap metadata of %s with %s?", pool, other)); err != nil {
		return err
	}
	return e.SwapPoolMetadata(ctx, pool.VG, pool.LV, other.LV)
}
