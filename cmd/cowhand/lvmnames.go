package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"cowhand/lvm"
)

// splitName is [lvm.SplitName], where devices may be in another directory than
// /dev, which DM_DEV_DIR tells.
func splitName(word string) (vg, lv string, err error) {
	if rest, ok := strings.CutPrefix(word, lvmDevDir()+"/"); ok {
		word = "/dev/" + rest
	}
	return lvm.SplitName(word)
}

func lvmDevDir() string { return strings.TrimRight((*host)(nil).devDir(), "/") }

// lvmGroupName reads the name of a group: "vg", "/dev/vg".
func lvmGroupName(word string) (string, error) {
	vg, lv, err := splitName(strings.TrimRight(word, "/"))
	if err == nil && lv != "" {
		err = fmt.Errorf("%q: want a volume group: %w", word, lvm.ErrInvalid)
	}
	return vg, err
}

// lvmNewName checks the name of a volume to be.
func lvmNewName(vg, lv string) error {
	if err := errors.Join(lvm.CheckLVName(vg, lv), lvm.CheckReserved(lv)); err != nil {
		return usagef("%s", err)
	}
	return nil
}

// lvmRef reads the name of a volume: "vg/lv", "/dev/vg/lv",
// "/dev/mapper/vg-lv", or "lv" with the group from elsewhere, as LVM_VG_NAME.
func lvmRef(word, vg string) (lvm.Ref, error) {
	if vg == "" {
		vg = os.Getenv("LVM_VG_NAME")
	}
	v, l, err := splitName(word)
	switch {
	case err != nil:
		return lvm.Ref{}, usagef("%s", err)
	case l == "" && vg == "":
		return lvm.Ref{}, usagef("%q: want VG/LV", word)
	case l == "":
		return lvm.Ref{VG: strings.TrimPrefix(vg, "/dev/"), LV: v}, nil
	}
	return lvm.Ref{VG: v, LV: l}, nil
}

// lvmFound is what words on a command line stand for.
type lvmFound struct {
	vg  *lvm.VG
	lvs []*lvm.LV
}

func (f lvmFound) refs() []lvm.Ref {
	var refs []lvm.Ref
	for _, lv := range f.lvs {
		refs = append(refs, lvm.Ref{VG: f.vg.Name, LV: lv.Name})
	}
	return refs
}

// again are the same volumes as they are now.
func (f lvmFound) again(ctx context.Context, e *lvm.Engine) (lvmFound, error) {
	vg, err := e.Group(ctx, f.vg.Name)
	if err != nil {
		return f, err
	}
	now := lvmFound{vg: vg}
	for _, lv := range f.lvs {
		if l := vg.LV(lv.Name); l != nil {
			now.lvs = append(now.lvs, l)
		}
	}
	return now, nil
}

// lvmVolumes finds volumes by words as LVM2's commands take them: a group is
// all its volumes, a tag all that bear it or whose group does.
func lvmVolumes(ctx context.Context, e *lvm.Engine, words []string) ([]lvmFound, error) {
	var found []lvmFound
	take := func(vg *lvm.VG, lvs ...*lvm.LV) {
		i := slices.IndexFunc(found, func(f lvmFound) bool { return f.vg.Name == vg.Name })
		if i < 0 {
			i, found = len(found), append(found, lvmFound{vg: vg})
		}
		for _, lv := range lvs {
			if !slices.ContainsFunc(found[i].lvs, func(l *lvm.LV) bool { return l.Name == lv.Name }) {
				found[i].lvs = append(found[i].lvs, found[i].vg.LV(lv.Name))
			}
		}
	}
	for _, word := range words {
		if tag, ok := strings.CutPrefix(word, "@"); ok {
			if err := lvm.CheckTag(tag); err != nil {
				return nil, err
			}
			groups, err := e.Groups(ctx)
			if err != nil {
				return nil, err
			}
			for _, vg := range groups {
				lvs, err := vg.Select(word)
				if err != nil {
					return nil, err
				}
				if len(lvs) > 0 {
					take(vg, lvs...)
				}
			}
			continue
		}
		name, lv, err := splitName(strings.TrimRight(word, "/"))
		if err != nil {
			return nil, err
		}
		vg, err := e.Group(ctx, name)
		if err != nil {
			return nil, err
		}
		if lv == "" {
			take(vg, vg.ShownLVs()...)
			continue
		}
		v := vg.LV(lv)
		if v == nil {
			return nil, &lvm.Error{VG: name, LV: lv, Err: lvm.ErrNotFound}
		}
		take(vg, v)
	}
	return found, nil
}

// pvNames turns paths of physical volumes into the names the group has for
// them.
func pvNames(vg *lvm.VG, h *host, paths []string) ([]string, error) {
	var names []string
	for _, p := range paths {
		if strings.HasPrefix(p, "@") {
			for _, pv := range vg.PVs {
				if slices.Contains(pv.Tags, p[1:]) {
					names = append(names, pv.Name)
				}
			}
			continue
		}
		path, extents, _ := strings.Cut(p, ":")
		path, err := h.listed(path)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(vg.PVs, func(pv *lvm.PV) bool { return pv.Device == path })
		if i < 0 {
			return nil, &lvm.Error{VG: vg.Name, Err: fmt.Errorf("physical volume %s: %w", p, lvm.ErrNotFound)}
		}
		place, err := vg.PVs[i].Place(extents)
		if err != nil {
			return nil, usagef("%s: %s", p, err)
		}
		names = append(names, place)
	}
	return names, nil
}

// listed is the name under which the list of devices has the device at
// path; path itself, absolute, if it has not.
func (h *host) listed(path string) (string, error) {
	list, err := h.devicePaths()
	if err != nil {
		return "", err
	}
	one, err := lvm.FindDevices([]string{path})
	if err != nil {
		return "", err
	}
	if len(one) != 1 {
		return "", usagef("%q: want one device", path)
	}
	both, err := lvm.FindDevices(append(slices.Clone(list), one[0]))
	if err != nil {
		return "", err
	}
	if len(both) > len(list) {
		return one[0], nil
	}
	for _, l := range list {
		same, err := lvm.FindDevices([]string{l, one[0]})
		if err == nil && len(same) == 1 {
			return l, nil
		}
	}
	return one[0], nil
}
