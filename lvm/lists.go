package lvm

import (
	"fmt"
	"slices"
	"strings"
)

// Lists are lvm2's settings of which volumes this host activates, and how
// (lvm.conf, section activation). Their elements are "vg", "vg/lv", "@tag" of a
// volume or its group, and "@*" for any tag that the host has itself. A list that
// is nil is not set; one that is empty names nothing.
type Lists struct {
	Volumes  []string // volume_list: no others are activated
	Auto     []string // auto_activation_volume_list: of those, no others without being asked for
	ReadOnly []string // read_only_volume_list: these are mapped read-only
	HostTags []string // the host's own tags, without "@"
}

// names tells whether a list has the volume (lvm2 2.03.16,
// lib/activate/activate.c, _passes_volumes_filter).
func (l *Lists) names(list []string, vg *VG, lv *LV) bool {
	return slices.ContainsFunc(list, func(item string) bool {
		switch tag, isTag := strings.CutPrefix(item, "@"); {
		case !isTag:
			return item == vg.Name || item == vg.Name+"/"+lv.Name
		case tag == "*":
			return slices.ContainsFunc(l.HostTags, func(t string) bool { return tagged(vg, lv, t) })
		default:
			return tag != "" && tagged(vg, lv, tag)
		}
	})
}

func tagged(vg *VG, lv *LV, tag string) bool {
	return slices.Contains(lv.Tags, tag) || slices.Contains(vg.Tags, tag)
}

// allow reports a volume that may not be activated. Without a list, a host that
// has tags takes only volumes that bear one of them (_passes_activation_filter).
func (l *Lists) allow(vg *VG, lv *LV) error {
	switch {
	case l.Volumes == nil && len(l.HostTags) == 0:
		return nil
	case l.Volumes == nil:
		if l.names([]string{"@*"}, vg, lv) {
			return nil
		}
		return fmt.Errorf("it bears none of the host's tags (@%s): %w", strings.Join(l.HostTags, ", @"), ErrExcluded)
	case l.names(l.Volumes, vg, lv):
		return nil
	}
	return fmt.Errorf("activation/volume_list does not name it: %w", ErrExcluded)
}

// allowed reports a volume, an origin for its unit, that this host's settings
// exclude.
func (vg *VG) allowed(lv *LV) error {
	if vg.lists == nil || lv == nil {
		return nil
	}
	return vg.fail(lv.Name, "activate", vg.lists.allow(vg, lv))
}

// atHome reports the group of a host that is named in local/extra_system_ids: it may
// be changed here, but no volume in it activated (tools/lvchange.c, _lvchange_activate).
func (vg *VG) atHome() error {
	if !vg.abroad {
		return nil
	}
	return vg.fail("", "activate", fmt.Errorf("system id is %q, not this host's own: %w", vg.SystemID, ErrForeign))
}

// AutoExcluded tells whether the host's settings keep the volume from being
// activated unless it is asked for by itself.
func (vg *VG) AutoExcluded(lv *LV) bool {
	return vg.lists != nil && vg.lists.Auto != nil && !vg.lists.names(vg.lists.Auto, vg, lv)
}

// autoActivates reports a volume that is activated at boot, as far as it may be.
func (vg *VG) autoActivates(lv *LV) bool {
	return !lv.SkipsActivation() && vg.AutoActivates(lv) && !vg.AutoExcluded(lv) && vg.allowed(lv) == nil && vg.atHome() == nil
}

// ReadOnlyHere tells whether this host maps the volume read-only by its settings,
// whatever the metadata permits.
func (vg *VG) ReadOnlyHere(lv *LV) bool {
	if origin := vg.Origin(lv.Name); origin != nil {
		lv = origin
	}
	return vg.readOnlyHere(lv)
}

// readOnlyHere tells whether this host maps the volume's unit read-only, whatever
// the metadata permits.
func (vg *VG) readOnlyHere(origin *LV) bool {
	return vg.lists != nil && vg.lists.names(vg.lists.ReadOnly, vg, origin)
}
