package lvm

import (
	"fmt"
	"slices"
	"strings"
)

// AddTags adds tags to a volume or, if lv is empty, to the group.
func (vg *VG) AddTags(lv string, tags ...string) error {
	list, err := vg.tags(lv)
	if err != nil {
		return vg.fail(lv, "tag", err)
	}
	return vg.fail(lv, "tag", addTags(list, tags))
}

// DelTags removes tags from a volume or, if lv is empty, from the group. Tags
// that are not there are no error.
func (vg *VG) DelTags(lv string, tags ...string) error {
	list, err := vg.tags(lv)
	if err != nil {
		return vg.fail(lv, "tag", err)
	}
	*list = slices.DeleteFunc(slices.Clone(*list), func(t string) bool { return slices.Contains(tags, t) })
	return nil
}

func (vg *VG) tags(lv string) (*[]string, error) {
	if lv == "" {
		return &vg.Tags, nil
	}
	if v := vg.LV(lv); v != nil {
		return &v.Tags, nil
	}
	return nil, ErrNotFound
}

func (lv *LV) addTags(tags []string) error { return addTags(&lv.Tags, tags) }

// addTags keeps the list sorted and free of doubles.
func addTags(list *[]string, tags []string) error {
	for _, t := range tags {
		if err := CheckTag(t); err != nil {
			return err
		}
	}
	all := slices.Clone(*list)
	for _, t := range tags {
		if !slices.Contains(all, t) {
			at, _ := slices.BinarySearch(all, t)
			all = slices.Insert(all, at, t)
		}
	}
	*list = all
	return nil
}

// HasTag reports whether the volume bears a tag.
func (lv *LV) HasTag(tag string) bool { return slices.Contains(lv.Tags, tag) }

// Select returns the volumes that are named, or bear a tag given as "@tag"
// (all of them if the group bears it), each once, in order of mention. Hidden
// volumes are only found by name. A tag that nothing bears selects nothing.
func (vg *VG) Select(which ...string) ([]*LV, error) {
	var found []*LV
	seen := map[*LV]bool{}
	take := func(lv *LV) {
		if !seen[lv] {
			seen[lv] = true
			found = append(found, lv)
		}
	}
	for _, w := range which {
		tag, ok := strings.CutPrefix(w, "@")
		if !ok {
			lv := vg.LV(w)
			if lv == nil {
				return nil, vg.fail(w, "", ErrNotFound)
			}
			take(lv)
			continue
		}
		if err := CheckTag(tag); err != nil {
			return nil, vg.fail("", "", fmt.Errorf("%q: %w", w, err))
		}
		all := slices.Contains(vg.Tags, tag)
		for _, lv := range vg.ShownLVs() {
			if all || lv.HasTag(tag) {
				take(lv)
			}
		}
	}
	return found, nil
}
