package lvm

import (
	"bytes"
	"fmt"
	"slices"

	"cowhand/lvm/lvmtext"
)

// printGroup makes the section say what vg says. Values that say it already
// are not touched; new ones go where lvm2 prints them.
func (vg *VG) printGroup(s *lvmtext.Section) {
	isNew := vg.text == nil
	setID(s, vg.ID)
	s.Set("seqno", lvmtext.Int(int64(vg.Seqno)))
	if isNew {
		s.Set("format", lvmtext.String("lvm2"))
	}
	setWords(s, "status", vg.Status, true)
	setWords(s, "flags", vg.Flags, isNew)
	setTags(s, vg.Tags)
	setText(s, "system_id", vg.SystemID)
	setText(s, "lock_type", vg.LockType)
	s.Set("extent_size", lvmtext.Int(int64(vg.ExtentSize)))
	s.Set("max_lv", lvmtext.Int(int64(vg.MaxLV)))
	s.Set("max_pv", lvmtext.Int(int64(vg.MaxPV)))
	printGroupPolicy(s, vg.allocation)
	if isNew {
		s.Set("metadata_copies", lvmtext.Int(0))
	}
	pvs := s.Add("physical_volumes")
	keep(pvs, len(vg.PVs), func(i int) (name, was string) { return vg.PVs[i].Name, vg.PVs[i].was })
	for _, pv := range vg.PVs {
		printPV(pvs.Add(pv.Name), pv)
	}
	defer vg.printHistory(s)
	if len(vg.LVs) == 0 {
		s.Delete("logical_volumes")
		return
	}
	lvs := s.Section("logical_volumes")
	if lvs == nil {
		if lvs = s.Add("logical_volumes"); s.Section("historical_logical_volumes") != nil {
			s.Delete("logical_volumes")
			lvs = s.AddBefore(s.Section("historical_logical_volumes"), "logical_volumes")
		}
	}
	keep(lvs, len(vg.LVs), func(i int) (name, was string) { return vg.LVs[i].Name, vg.LVs[i].was })
	for _, lv := range vg.LVs {
		printLV(lvs.Add(lv.Name), lv)
	}
}

// keep removes the subsections that no item was, and gives the others the name
// their item has now.
func keep(s *lvmtext.Section, n int, item func(int) (name, was string)) {
	names := make(map[string]string, n)
	for i := range n {
		if name, was := item(i); was != "" {
			names[was] = name
		}
	}
	var renamed []*lvmtext.Section
	for _, sub := range s.Sections() {
		switch name, ok := names[sub.Name()]; {
		case !ok:
			s.Delete(sub.Name())
		case name != sub.Name():
			renamed = append(renamed, sub)
		}
	}
	// Two volumes may have exchanged their names: none may be taken on the way.
	to := make([]string, len(renamed))
	for i, sub := range renamed {
		to[i] = names[sub.Name()]
		sub.Rename(fmt.Sprintf("..%d", i)) // no volume can be called so
	}
	for i, sub := range renamed {
		sub.Rename(to[i])
	}
}

func printPV(s *lvmtext.Section, pv *PV) {
	isNew := pv.was == ""
	setID(s, pv.ID)
	if v, ok := s.Get("device"); ok || isNew || pv.Device != "" {
		if now, _ := v.String(); !ok || now != pv.Device {
			s.Set("device", lvmtext.String(pv.Device))
		}
	}
	setWords(s, "status", pv.Status, true)
	setWords(s, "flags", pv.Flags, isNew)
	setTags(s, pv.Tags)
	setNumber(s, "dev_size", uint64(pv.DevSize), isNew)
	setNumber(s, "pe_start", uint64(pv.PEStart), true)
	setNumber(s, "pe_count", uint64(pv.PECount), true)
}

func printLV(s *lvmtext.Section, lv *LV) {
	isNew := lv.was == ""
	setID(s, lv.ID)
	setWords(s, "status", lv.Status, true)
	setWords(s, "flags", lv.Flags, isNew)
	setTags(s, lv.Tags)
	if isNew && !lv.CreationTime.IsZero() {
		s.Set("creation_time", lvmtext.Int(lv.CreationTime.Unix()))
		s.Set("creation_host", lvmtext.String(lv.CreationHost))
	}
	printPolicy(s, lv.allocation)
	printReadAhead(s, lv.ReadAhead)
	printNumber(s, lv.Number)
	s.Set("segment_count", lvmtext.Int(int64(len(lv.Segments))))
	kept := map[string]bool{}
	for _, seg := range lv.Segments {
		kept[seg.was] = true
	}
	for _, sub := range s.Sections() {
		if bytes.HasPrefix([]byte(sub.Name()), []byte("segment")) && !kept[sub.Name()] {
			s.Delete(sub.Name())
		}
	}
	next := 1
	for _, seg := range lv.Segments {
		name := seg.was
		for name == "" {
			if n := fmt.Sprintf("segment%d", next); s.Section(n) == nil && !kept[n] {
				name = n
			}
			next++
		}
		printSegment(s.Add(name), seg)
	}
}

// printSegment leaves segments of types it does not know alone.
func printSegment(s *lvmtext.Section, seg *Segment) {
	if !seg.known() && seg.ThinPool == nil && seg.Thin == nil && (seg.Type != typeZero || seg.was != "") {
		return
	}
	setNumber(s, "start_extent", uint64(seg.Start), true)
	setNumber(s, "extent_count", uint64(seg.Count), true)
	s.Set("type", lvmtext.String(seg.Type))
	switch {
	case seg.Type == typeZero:
		return
	case seg.ThinPool != nil:
		printThinPool(s, seg)
		return
	case seg.Thin != nil:
		printThin(s, seg.Thin)
		return
	}
	if seg.Type == typeSnapshot {
		setNumber(s, "chunk_size", uint64(seg.ChunkSize), true)
		s.Set("origin", lvmtext.String(seg.Origin))
		key, other := "cow_store", "merging_store"
		if seg.Merging {
			key, other = other, key
		}
		s.Delete(other)
		s.Set(key, lvmtext.String(seg.COW))
		return
	}
	setNumber(s, "stripe_count", uint64(len(seg.Stripes)), true)
	if len(seg.Stripes) > 1 {
		setNumber(s, "stripe_size", uint64(seg.StripeSize), true)
	}
	var areas []lvmtext.Value
	for _, a := range seg.Stripes {
		areas = append(areas, lvmtext.String(a.PV), lvmtext.Int(int64(a.Start)))
	}
	s.Set("stripes", lvmtext.List(areas...))
}

// setID sets an ID, unless the one there is the same in another form.
func setID(s *lvmtext.Section, id ID) {
	v, _ := s.Get("id")
	text, _ := v.String()
	dashed := id.Dashed()
	if text == dashed {
		return
	}
	if now, err := ParseID(text); err != nil || now != id {
		s.Set("id", lvmtext.String(dashed))
	}
}

// setNumber sets a number; one that is 0 and not there only if it must be.
func setNumber(s *lvmtext.Section, key string, n uint64, must bool) {
	if _, ok := s.Get(key); ok || must || n != 0 {
		s.Set(key, lvmtext.Int(int64(n)))
	}
}

// setText sets a string, and removes one that became empty.
func setText(s *lvmtext.Section, key, text string) {
	v, ok := s.Get(key)
	switch now, _ := v.String(); {
	case ok && now == text:
	case text == "":
		s.Delete(key)
	case ok:
		s.Set(key, lvmtext.String(text))
	default:
		setBehind(s, []string{"system_id", "tags", "flags", "status"}, key, lvmtext.String(text))
	}
}

// setWords sets a list that says something else now.
func setWords(s *lvmtext.Section, key string, words []string, must bool) {
	v, ok := s.Get(key)
	if now, _ := v.Strings(); ok && slices.Equal(now, words) || !ok && len(words) == 0 && !must {
		return
	}
	setBehind(s, []string{"status"}, key, lvmtext.Strings(words))
}

// setTags sets the tags, which lvm2 prints behind the flags and only if there
// are any.
func setTags(s *lvmtext.Section, tags []string) {
	v, ok := s.Get("tags")
	switch now, _ := v.Strings(); {
	case ok && slices.Equal(now, tags) || !ok && len(tags) == 0:
	case len(tags) == 0:
		s.Delete("tags")
	default:
		setBehind(s, []string{"flags", "status"}, "tags", lvmtext.Strings(tags))
	}
}

// setBehind is Set, but a new value goes behind the first of the keys that is
// there. Where that would cost a comment it goes to the end.
func setBehind(s *lvmtext.Section, behind []string, key string, v lvmtext.Value) {
	keys := s.Keys()
	at := -1
	for _, b := range behind {
		if at = slices.Index(keys, b); at >= 0 {
			break
		}
	}
	if at < 0 || slices.Contains(keys, key) || bytes.IndexByte(s.Bytes(), '#') >= 0 {
		s.Set(key, v)
		return
	}
	type pair struct {
		key string
		v   lvmtext.Value
	}
	var after []pair
	for _, k := range keys[at+1:] {
		old, _ := s.Get(k)
		after = append(after, pair{k, old})
		s.Delete(k)
	}
	s.Set(key, v)
	for _, p := range after {
		s.Set(p.key, p.v)
	}
}
