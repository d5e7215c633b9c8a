package orchestrator

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"cowhand/lvm"
)

// Role is what a set is for.
type Role string

// The roles of sets.
const (
	RoleSnapshot Role = "snapshot" // to go back to
	RoleTrial    Role = "trial"    // a guest runs on it, to be kept or discarded
	RoleClone    Role = "clone"    // an instance of its own
)

// Grade is how consistent the contents of a set are.
type Grade string

// The grades, best first.
const (
	GradeClean  Grade = "clean"  // the guest was off
	GradePaused Grade = "paused" // its processors stood still
	GradeCrash  Grade = "crash"  // as after a power cut
)

// Set is the snapshots of a guest cut at one instant. It is stored nowhere but
// in the tags of its volumes:
//
//	cowhand.set=NAME cowhand.guest=GUEST cowhand.disk=vda cowhand.role=trial
//	cowhand.grade=clean cowhand.time=1795403970 cowhand.as=GUEST-NAME cowhand.was=running
//	cowhand.disks=2
type Set struct {
	Name    string
	Guest   string // whose disks the origins are
	As      string // the guest that runs on it, of trials and clones
	Role    Role
	Grade   Grade
	Time    time.Time
	Was     string // "running" if the guest ran when the set was cut
	Disks   int    // how many it was cut of; 0 if that is not known
	Torn    bool   // its snapshots are of different instants: who cut it died
	Members []Member
}

// Member is one snapshot of a set.
type Member struct {
	Disk     string  `json:"disk"` // the guest's name for it, "vda"
	Origin   lvm.Ref `json:"origin"`
	Snapshot lvm.Ref `json:"snapshot"`
	Thin     bool    `json:"thin,omitempty"` // it is in the origin's thin pool
}

// Snapshots lists the snapshots of the set's members.
func (s *Set) Snapshots() []lvm.Ref {
	refs := make([]lvm.Ref, len(s.Members))
	for i, m := range s.Members {
		refs[i] = m.Snapshot
	}
	return refs
}

const tagPrefix = "cowhand."

// Tags are the tags of the member for disk.
func (s *Set) Tags(disk string) []string {
	kv := [][2]string{{"set", s.Name}, {"guest", s.Guest}, {"disk", disk}, {"role", string(s.Role)},
		{"grade", string(s.Grade)}, {"time", strconv.FormatInt(s.Time.Unix(), 10)}, {"as", s.As}, {"was", s.Was},
		{"disks", strconv.Itoa(len(s.Members))}}
	var tags []string
	for _, p := range kv {
		if p[1] != "" {
			tags = append(tags, tagPrefix+p[0]+"="+escapeTag(p[1]))
		}
	}
	return tags
}

// owns reports a volume that carries the set's tags.
func (s *Set) owns(lv *lvm.LV) bool {
	t := readTags(lv.Tags)
	return t["set"] == s.Name && t["guest"] == s.Guest
}

// Ours reports a volume that belongs to a set.
func Ours(lv *lvm.LV) bool { return readTags(lv.Tags)["set"] != "" }

// Complete reports that all the snapshots are seen that the set was cut of.
func (s *Set) Complete() bool { return !s.Torn && len(s.Members) >= s.Disks }

// whole says why the set cannot take the place of its origins.
func (s *Set) whole(b *Blockers, hint string) {
	switch {
	case s.Torn:
		b.add(ErrIncomplete, "set %q was not cut at one instant, cowhand died on the way: it can only be removed, with 'cowhand rm %s'", s.Name, s.Name)
	case !s.Complete():
		b.add(ErrIncomplete, "set %q has %d of its %d snapshots: %s", s.Name, len(s.Members), s.Disks, hint)
	}
}

// Sets finds the sets in the tags of all groups, oldest first. Two guests may
// have sets of one name if groups came from elsewhere.
func Sets(groups []*lvm.VG) []*Set {
	sets := map[[2]string]*Set{}
	for _, vg := range groups {
		for _, lv := range vg.LVs {
			t := readTags(lv.Tags)
			name := t["set"]
			if name == "" {
				continue
			}
			key := [2]string{name, t["guest"]}
			s := sets[key]
			if s == nil {
				unix, _ := strconv.ParseInt(t["time"], 10, 64) // a tag spoilt by hand shows as 1970
				s = &Set{Name: name, Guest: t["guest"], As: t["as"], Role: Role(t["role"]), Grade: Grade(t["grade"]),
					Time: time.Unix(unix, 0).UTC(), Was: t["was"]}
				sets[key] = s
			}
			disks, _ := strconv.Atoi(t["disks"])
			s.Disks = max(s.Disks, disks)
			s.Torn = s.Torn || slices.Contains(lv.Tags, lvm.TagUncut)
			m := Member{Disk: t["disk"], Snapshot: lvm.Ref{VG: vg.Name, LV: lv.Name}, Thin: vg.Thin(lv.Name)}
			if o := vg.SnapshotOf(lv.Name); o != nil {
				m.Origin = lvm.Ref{VG: vg.Name, LV: o.Name}
			}
			s.Members = append(s.Members, m)
		}
	}
	var list []*Set
	for _, s := range sets {
		slices.SortFunc(s.Members, func(a, b Member) int { return strings.Compare(a.Disk, b.Disk) })
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *Set) int { return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Name, b.Name)) })
	return list
}

func readTags(tags []string) map[string]string {
	m := map[string]string{}
	for _, t := range tags {
		if kv, ok := strings.CutPrefix(t, tagPrefix); ok {
			if k, v, ok := strings.Cut(kv, "="); ok {
				m[k] = unescapeTag(v)
			}
		}
	}
	return m
}

// tagByte says which bytes LVM lets into a tag (lib/misc/lvm-string.c,
// validate_tag, lvm2 2.03.16), less '&', which escapes the others as "&20".
func tagByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("_+.-/=!:#", c) >= 0
}

func escapeTag(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if tagByte(s[i]) {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "&%02x", s[i])
		}
	}
	return b.String()
}

func unescapeTag(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '&' && i+2 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// CheckSetName refuses names that could not stand in the names of volumes and
// guests.
func CheckSetName(name string) error {
	ok := name != "" && len(name) <= 40 && name[0] != '-' && name[0] != '.'
	for i := 0; i < len(name) && ok; i++ {
		c := name[i]
		ok = tagByte(c) && strings.IndexByte("+/=!:#", c) < 0
	}
	if !ok {
		return &Refusal{fmt.Sprintf("set name %q: want 1 to 40 of a-z A-Z 0-9 . _ -, not beginning with . or -", name), ErrBadName}
	}
	return nil
}

// SnapshotName is the name of the snapshot of an origin in a set.
func SnapshotName(origin, set string) string { return origin + "." + set }
