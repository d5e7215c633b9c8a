package lvm

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"cowhand/dmcore"
)

// fakeDM is a device mapper without targets: it keeps tables, and refuses what
// Linux 6.1 refuses.
type fakeDM struct {
	devs map[dmcore.UUID]*fakeDev
	next uint32
}

type fakeDev struct {
	info           dmcore.Info
	live, inactive dmcore.Table
	ro, inactiveRO bool
}

func newFakeDM() *fakeDM { return &fakeDM{devs: map[dmcore.UUID]*fakeDev{}} }

// have looks devices up as the engine does; live tables name devices by number.
func (m *fakeDM) have(uuids ...dmcore.UUID) []Device {
	var have []Device
	for _, u := range uuids {
		d := m.devs[u]
		if d == nil || slices.ContainsFunc(have, func(h Device) bool { return h.Info.UUID == u }) {
			continue
		}
		table, err := d.live.Resolve(func(ref dmcore.Dev) (dmcore.Dev, error) {
			if u, ok := ref.UUID(); ok {
				return m.devs[u].info.Dev.Dev(), nil
			}
			return ref, nil
		})
		if err != nil {
			panic(err)
		}
		info := d.info
		info.Live, info.Inactive, info.ReadOnly = len(d.live) > 0, len(d.inactive) > 0, d.ro
		have = append(have, Device{Info: info, Table: table})
	}
	return have
}

func (m *fakeDM) users(u dmcore.UUID) []string {
	var users []string
	for _, d := range m.devs {
		for _, t := range []dmcore.Table{d.live, d.inactive} {
			if slices.Contains(t.Devs(), u.Dev()) {
				users = append(users, string(d.info.Name))
			}
		}
	}
	return users
}

func (m *fakeDM) do(s Step) error {
	d := m.devs[s.UUID]
	if s.Do == dmcore.Create {
		for _, o := range m.devs {
			if o.info.Name == s.Name || o.info.UUID == s.UUID {
				return fmt.Errorf("%s: %w", s, dmcore.ErrExists)
			}
		}
		m.next++
		m.devs[s.UUID] = &fakeDev{info: dmcore.Info{Name: s.Name, UUID: s.UUID, Dev: dmcore.DevNo{Minor: m.next}, Suspended: true}}
		return nil
	}
	if d == nil {
		return fmt.Errorf("%s: %w", s, dmcore.ErrNotFound)
	}
	if d.info.Name != s.Name {
		return fmt.Errorf("%s: the device is called %s", s, d.info.Name)
	}
	switch s.Do {
	case dmcore.Load:
		if err := s.Table.Validate(); err != nil {
			return err
		}
		for _, dev := range s.Table.Devs() {
			if u, ok := dev.UUID(); ok && m.devs[u] == nil {
				return fmt.Errorf("%s: no device %s", s, u)
			}
		}
		d.inactive, d.inactiveRO = s.Table, s.ReadOnly
	case dmcore.Clear:
		d.inactive = nil
	case dmcore.Suspend:
		for _, o := range m.devs { // a parent's flush would never end
			if len(o.live) > 0 && !o.info.Suspended && slices.Contains(o.live.Devs(), s.UUID.Dev()) && o.inactive != nil && len(d.inactive) > 0 {
				return fmt.Errorf("%s: %s on it changes too and is not suspended", s, o.info.Name)
			}
		}
		d.info.Suspended = true
	case dmcore.Resume:
		return m.resume(d)
	case dmcore.Remove:
		if users := m.users(s.UUID); len(users) > 0 || d.info.OpenCount > 0 {
			return fmt.Errorf("%s: used by %v: %w", s, users, dmcore.ErrBusy)
		}
		delete(m.devs, s.UUID)
	case dmcore.Rename:
		for _, o := range m.devs {
			if o.info.Name == s.NewName {
				return fmt.Errorf("%s: %w", s, dmcore.ErrExists)
			}
		}
		d.info.Name = s.NewName
	default:
		return fmt.Errorf("%s: not expected", s)
	}
	return nil
}

// store is the COW device of a snapshot or merge.
func store(t dmcore.Table) (cow dmcore.Dev, merge bool) {
	if len(t) == 1 {
		switch t := t[0].Target.(type) {
		case dmcore.Snapshot:
			return t.COW, false
		case dmcore.SnapshotMerge:
			return t.COW, true
		}
	}
	return "", false
}

// resume applies the rules of drivers/md/dm-snap.c, snapshot_preresume.
func (m *fakeDM) resume(d *fakeDev) error {
	table, ro := d.inactive, d.inactiveRO
	if table == nil {
		table, ro = d.live, d.ro
	}
	if len(table) == 0 {
		return fmt.Errorf("resume %s: no table: %w", d.info.Name, dmcore.ErrInvalid)
	}
	if cow, _ := store(table); cow != "" {
		for _, o := range m.devs {
			if o == d {
				continue
			}
			if c, _ := store(o.live); c == cow && !o.info.Suspended {
				return fmt.Errorf("resume %s: unable to take over exceptions until %s is suspended", d.info.Name, o.info.Name)
			}
			if c, _ := store(o.inactive); c == cow && d.inactive == nil {
				return fmt.Errorf("resume %s: unable to resume the source until %s took over", d.info.Name, o.info.Name)
			}
		}
	}
	for _, dev := range table.Devs() {
		if u, ok := dev.UUID(); ok && len(m.devs[u].live) == 0 {
			return fmt.Errorf("resume %s: %s below has no table", d.info.Name, m.devs[u].info.Name)
		}
	}
	d.live, d.ro, d.inactive, d.info.Suspended = table, ro, nil, false
	return nil
}

// unfed checks, of devices whose I/O flows, that the snapshots vg tells of get
// what is overwritten, and no others: those may lie on extents that are free.
func (m *fakeDM) unfed(vg *VG) error {
	for u, d := range m.devs {
		if layerOf(u) == "" && len(d.live) > 0 && !d.info.Suspended && !isFailing(d.live) &&
			!slices.ContainsFunc(vg.LVs, func(lv *LV) bool { return vg.uuid(lv, "") == u }) {
			return fmt.Errorf("%s lies on extents that are free", d.info.Name)
		}
	}
	links := vg.links()
	for _, lv := range vg.LVs {
		top := m.devs[vg.uuid(lv, "")]
		if top == nil || len(top.live) == 0 || top.info.Suspended || links.helpers[lv.Name] {
			continue
		}
		if _, ok := links.byCOW[lv.Name]; ok {
			continue
		}
		want := []string{}
		for _, k := range links.byOrigin[lv.Name] {
			want = append(want, string(vg.uuid(vg.LV(k.seg.COW), layerCOW)))
		}
		got := []string{}
		if real, ok := feeds(top.live); ok {
			for _, d := range m.devs {
				if r, ok := snapshotOf(d.live); ok && r == real {
					cow, _ := store(d.live)
					got = append(got, strings.TrimPrefix(string(cow), "@"))
				}
			}
			// After a merge took over, the snapshot it was gets nothing more.
			if cow, merge := store(top.live); merge && !slices.Contains(got, strings.TrimPrefix(string(cow), "@")) {
				got = append(got, strings.TrimPrefix(string(cow), "@"))
			}
		}
		sort.Strings(want)
		sort.Strings(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("%s feeds %v, metadata has %v", lv.Name, got, want)
		}
	}
	return nil
}

func (m *fakeDM) String() string {
	var lines []string
	for _, d := range m.devs {
		state := ""
		if d.info.Suspended {
			state += " suspended"
		}
		if d.ro {
			state += " read-only"
		}
		if d.inactive != nil {
			state += " inactive(" + d.inactive.String() + ")"
		}
		lines = append(lines, fmt.Sprintf("%s %s%s: %s", d.info.Name, d.info.UUID, state, d.live))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}
