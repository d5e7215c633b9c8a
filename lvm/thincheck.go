package lvm

import (
	"slices"
	"strings"

	"cowhand/dmcore"
)

// thins checks thin pools and what is in them, as lvm2 does when it reads or
// writes them (2.03.16, lib/thin/thin.c, lib/metadata/merge.c,
// _check_lv_segment and check_lv_segments; lib/metadata/thin_manip.c).
func (v *validator) thins() {
	links := v.vg.links()
	spare := ""
	for _, lv := range v.vg.LVs {
		if lv.spare() {
			if spare != "" {
				v.bad("volume %s: there is a spare for the metadata of pools already, %s", lv.Name, spare)
			}
			spare = lv.Name
		}
		for _, s := range lv.Segments {
			if (s.ThinPool != nil || s.Thin != nil) && len(lv.Segments) != 1 {
				v.bad("volume %s: thin pools and thin volumes have one segment", lv.Name)
				break
			}
		}
		if p := lv.ThinPool(); p != nil {
			v.thinPool(lv, p, links)
		}
		if t := lv.Thin(); t != nil {
			v.thin(lv, t, links)
		}
	}
}

func (v *validator) thinPool(lv *LV, p *ThinPool, links *links) {
	what := "thin pool " + lv.Name
	if c := lv.Segments[0].ChunkSize; c < dmcore.MinThinBlock || c > dmcore.MaxThinBlock || c%dmcore.MinThinBlock != 0 {
		v.bad("%s: chunk size of %d sectors: want a multiple of 64 KiB up to 1 GiB", what, c)
	}
	if !slices.Contains([]string{DiscardsPassdown, DiscardsNoPassdown, DiscardsIgnore}, p.Discards) {
		v.bad("%s: discards is %q", what, p.Discards)
	}
	v.part(what, "metadata", lv, p.Metadata, links)
	v.part(what, "data", lv, p.Data, links)
	if p.Metadata == p.Data {
		v.bad("%s: %s is both its data and its metadata", what, p.Data)
	}
	if !strings.Contains(p.Metadata, "_tmeta") {
		v.bad("%s: its metadata %s is not called _tmeta", what, p.Metadata)
	}
	if data := v.lvs[p.Data]; data != nil && data.Extents() < lv.Extents() {
		v.bad("%s: has %d extents, its data %s has %d", what, lv.Extents(), p.Data, data.Extents())
	}
	ids := map[uint32]string{}
	for _, t := range links.thin.volumes[lv.Name] {
		id := t.Thin().DeviceID
		if other, ok := ids[id]; ok {
			v.bad("%s: %s and %s both have the device id %d", what, other, t.Name, id)
		}
		ids[id] = t.Name
	}
	v.thinMessages(what, lv, p)
}

// part checks one of the two volumes a pool is made of.
func (v *validator) part(what, role string, pool *LV, name string, links *links) {
	part := v.lvs[name]
	switch {
	case part == nil:
		v.bad("%s: its %s %q is not there", what, role, name)
	case part == pool || part.ThinPool() != nil || part.Thin() != nil:
		v.bad("%s: %s cannot be its %s", what, name, role)
	case part.Visible():
		v.bad("%s: its %s %s has the status VISIBLE", what, role, name)
	case links.thin.pool[name] != pool:
		v.bad("%s: %s is the %s of %s, too", what, name, role, links.thin.pool[name].Name)
	}
}

func (v *validator) thinMessages(what string, lv *LV, p *ThinPool) {
	if len(p.Messages) > 0 && p.TransactionID == 0 {
		v.bad("%s: has messages, and the transaction id 0", what)
	}
	for i, m := range p.Messages {
		if slices.Contains(p.Messages[:i], m) {
			v.bad("%s: message %d is there twice", what, i+1)
		}
		if m.Create == "" {
			if m.Delete > dmcore.MaxThinID {
				v.bad("%s: message %d: device id %d is above %d", what, i+1, m.Delete, dmcore.MaxThinID)
			}
			continue
		}
		made := v.lvs[m.Create]
		if made == nil || made.Thin() == nil || made.Thin().Pool != lv.Name {
			v.bad("%s: message %d: %q is no thin volume in it", what, i+1, m.Create)
		}
	}
}

func (v *validator) thin(lv *LV, t *Thin, links *links) {
	what := "thin volume " + lv.Name
	if pool := v.lvs[t.Pool]; pool == nil || pool.ThinPool() == nil {
		v.bad("%s: %q is no thin pool", what, t.Pool)
	}
	if t.DeviceID > dmcore.MaxThinID {
		v.bad("%s: device id %d is above %d", what, t.DeviceID, dmcore.MaxThinID)
	}
	if t.Origin != "" && v.lvs[t.Origin] == nil {
		v.bad("%s: its origin %q is not there", what, t.Origin)
	}
	if t.Origin == lv.Name || t.ExternalOrigin == lv.Name || t.Merge == lv.Name {
		v.bad("%s: refers to itself", what)
	}
	if t.ExternalOrigin != "" {
		if ext := v.lvs[t.ExternalOrigin]; ext == nil || ext.ThinPool() != nil || links.helpers[t.ExternalOrigin] {
			v.bad("%s: %q cannot be its external origin", what, t.ExternalOrigin)
		}
	}
	if t.Merge == "" {
		return
	}
	switch into := v.lvs[t.Merge]; {
	case into == nil || into.Thin() == nil || into.Thin().Pool != t.Pool:
		v.bad("%s: %q, that it is to be merged into, is no thin volume in %s", what, t.Merge, t.Pool)
	case links.thin.merge[t.Merge] != lv:
		v.bad("%s: %s is to be merged into %s, too", what, links.thin.merge[t.Merge].Name, t.Merge)
	case lv.Visible():
		v.bad("%s: must not have the status VISIBLE, for it is being merged", what)
	}
}
