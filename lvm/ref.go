package lvm

import (
	"cmp"
	"fmt"
	"strings"
)

// Ref names a volume.
type Ref struct {
	VG string `json:"vg"`
	LV string `json:"lv"`
}

// ParseRef reads "vg/lv", "/dev/vg/lv" or "/dev/mapper/vg-lv".
func ParseRef(s string) (Ref, error) {
	vg, lv, err := SplitName(s)
	if err == nil && lv == "" {
		err = fmt.Errorf("%q: want VG/LV: %w", s, ErrInvalid)
	}
	return Ref{vg, lv}, err
}

func (r Ref) String() string { return r.VG + "/" + r.LV }

// Compare orders by group, then volume.
func (r Ref) Compare(s Ref) int {
	return cmp.Or(strings.Compare(r.VG, s.VG), strings.Compare(r.LV, s.LV))
}

// byGroup sorts refs into their groups.
func byGroup(refs []Ref) map[string][]string {
	m := map[string][]string{}
	for _, r := range refs {
		m[r.VG] = append(m[r.VG], r.LV)
	}
	return m
}
