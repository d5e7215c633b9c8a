package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cowhand/lvm"
)

func lvmDeviceVerbs() []lvmVerb {
	return []lvmVerb{
		{"pvcreate", "make devices or image files physical volumes", "PATH...",
			"metadatasize: pvmetadatacopies,metadatacopies: dataalignment: dataalignmentoffset: uuid|u: norestorefile restorefile: labelsector: zero|Z: metadatatype|M: setphysicalvolumesize: metadataignore:", pvcreate},
		{"pvremove", "make physical volumes plain devices again", "PATH...", "", pvremove},
	}
}

// pvOptions reads the flags of how a physical volume is made.
func (r *lvmRun) pvOptions() (o lvm.PVOptions, err error) {
	a := r.args
	bytes := func(name, unit string) (int64, error) {
		if !a.has(name) {
			return 0, nil
		}
		s, err := lvmSize(a.get(name), unit)
		if err != nil {
			return 0, lvmValue(name, a.get(name))
		}
		return int64(s.Bytes), nil
	}
	if o.MetadataSize, err = bytes("metadatasize", "m"); err != nil {
		return o, err
	}
	if o.DataAlignment, err = bytes("dataalignment", "k"); err != nil {
		return o, err
	}
	if o.Size, err = bytes("setphysicalvolumesize", "m"); err != nil {
		return o, err
	}
	if a.has("dataalignmentoffset") || a.has("restorefile") {
		return o, fmt.Errorf("--dataalignmentoffset and --restorefile: %w", errors.ErrUnsupported)
	}
	copies, err := a.number("pvmetadatacopies", 1, 0, 2)
	if err != nil {
		return o, err
	}
	o.NoMetadata, o.SecondMetadata = copies == 0, copies == 2
	if a.has("uuid") {
		if o.ID, err = lvm.ParseID(a.get("uuid")); err != nil {
			return o, lvmValue("uuid", a.get("uuid"))
		}
	}
	// -y agrees to what LVM2 asks: whether a signature may be wiped. -ff takes
	// a device although it is marked as one of a group that was not found.
	o.Force = a.has("yes") || a.has("force")
	o.ForceUsed = len(a.all("force")) > 1
	return o, nil
}

// lvmSize reads a size whose unit, if none is given, is not MiB.
func lvmSize(text, unit string) (lvm.Size, error) {
	if text != "" && strings.Trim(text, "0123456789.") == "" {
		text += unit
	}
	s, err := lvm.ParseSize(text)
	if err == nil && s.Bytes == 0 {
		err = fmt.Errorf("size %q: want a length: %w", text, lvm.ErrInvalid)
	}
	return s, err
}

// paths lists devices named on the command line, as the configured list names
// them; those it does not name are added to it for this run.
func (r *lvmRun) paths(words []string) ([]string, error) {
	var paths []string
	for _, w := range words {
		if err := r.know(w); err != nil {
			return nil, err
		}
		p, err := r.listed(w)
		if err != nil {
			return nil, err
		}
		paths = append(paths, p)
	}
	return paths, nil
}

func pvcreate(ctx context.Context, r *lvmRun) error {
	if len(r.args.words) == 0 {
		return usagef("please enter a physical volume path")
	}
	o, err := r.pvOptions()
	if err != nil {
		return err
	}
	if o.ID != "" && len(r.args.words) > 1 {
		return usagef("can only set uuid on one volume at once")
	}
	paths, err := r.paths(r.args.words)
	if err != nil {
		return err
	}
	e, err := r.metadata()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range paths {
		errs = append(errs, r.pvcreateOne(ctx, e, p, o))
	}
	return errors.Join(errs...)
}

func (r *lvmRun) pvcreateOne(ctx context.Context, e *lvm.Engine, path string, o lvm.PVOptions) error {
	_, err := e.CreatePV(ctx, path, o)
	var holds *lvm.SignatureError
	if errors.As(err, &holds) {
		if err := r.agreed(fmt.Sprintf("%s holds a %s. Overwrite it?", path, holds.What)); err != nil {
			return err
		}
		o.Force = true
		_, err = e.CreatePV(ctx, path, o)
	}
	if err != nil {
		return err
	}
	r.say("Physical volume %q successfully created.", path)
	return nil
}

func pvremove(ctx context.Context, r *lvmRun) error {
	if len(r.args.words) == 0 {
		return usagef("please enter a physical volume path")
	}
	paths, err := r.paths(r.args.words)
	if err != nil {
		return err
	}
	e, err := r.metadata()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range paths {
		if err := e.RemovePV(ctx, p); err != nil {
			errs = append(errs, err)
			continue
		}
		r.say("Labels on physical volume %q successfully wiped.", p)
	}
	return errors.Join(errs...)
}

func (r *lvmRun) makePVs(ctx context.Context, e *lvm.Engine, paths []string) error {
	o, err := r.pvOptions()
	if err != nil {
		return err
	}
	listing, err := e.Store.Scan(ctx)
	if err != nil {
		return err
	}
	have := map[string]bool{}
	for _, pv := range listing.PVs {
		have[pv.Path] = true
	}
	for _, p := range paths {
		if have[p] {
			continue
		}
		if err := r.pvcreateOne(ctx, e, p, o); err != nil {
			return err
		}
	}
	return nil
}
