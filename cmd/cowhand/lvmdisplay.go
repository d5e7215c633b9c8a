package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cowhand/dmcore"
	"cowhand/lvm"
)

func lvmDisplayVerbs() []lvmVerb {
	const flags = lvmReportFlags + " columns|C maps|m"
	show := func(report lvmReport, display func(*lvmRun, *lvmLook) error) func(context.Context, *lvmRun) error {
		return func(ctx context.Context, r *lvmRun) error {
			if r.args.has("columns") {
				return r.list(ctx, report)
			}
			look, err := r.look(ctx)
			if err != nil {
				return err
			}
			return display(r, look)
		}
	}
	return []lvmVerb{
		{"pvdisplay", "show physical volumes in full", "[PATH|@TAG...]", flags, show(lvmPVs, (*lvmRun).pvDisplay)},
		{"vgdisplay", "show volume groups in full", "[VG|@TAG...]", flags, show(lvmVGs, (*lvmRun).vgDisplay)},
		{"lvdisplay", "show volumes in full", "[-m] [VG|VG/LV|@TAG...]", flags, show(lvmLVs, (*lvmRun).lvDisplay)},
	}
}

// sheet is text in LVM2's form: a title, then names and values.
type sheet struct {
	b     strings.Builder
	width int // of names
}

func (s *sheet) title(text string) { fmt.Fprintf(&s.b, "  --- %s ---\n", text) }

func (s *sheet) line(name string, format string, args ...any) {
	fmt.Fprintf(&s.b, "  %-*s "+format+"\n", append([]any{s.width, name}, args...)...)
}

func (s *sheet) blank() { s.b.WriteString("   \n") }

func (r *lvmRun) lvDisplay(look *lvmLook) error {
	rows, missing, err := r.rows(look, lvmLVs, lvmOfLV)
	if err != nil {
		return err
	}
	s := &sheet{width: 22}
	for _, row := range rows {
		s.volume(row)
		if r.args.has("maps") {
			s.maps(row)
		}
	}
	_, err = fmt.Fprint(r.stdout, s.b.String())
	return errors.Join(err, missing)
}

// volume is what lvm2 2.03.16, lib/display/display.c, lvdisplay_full, shows.
func (s *sheet) volume(r *lvmRow) {
	g, lv := r.group, r.lv
	s.title("Logical volume")
	if g.shown[lv.Name] {
		if lv.ThinPool() == nil {
			s.line("LV Path", "%s/%s/%s", lvmDevDir(), g.Name, lv.Name)
		}
		s.line("LV Name", "%s", lv.Name)
	} else {
		s.line("Internal LV Name", "%s", lv.Name)
	}
	s.line("VG Name", "%s", g.Name)
	s.line("LV UUID", "%s", lv.ID.Dashed())
	access := "read only"
	if lv.Writable() {
		if access = "read/write"; r.state.Exists && r.state.Info.ReadOnly {
			access = "read only (activated)"
		}
	}
	s.line("LV Write Access", "%s", access)
	if !lv.CreationTime.IsZero() {
		s.line("LV Creation host, time", "%s, %s", lv.CreationHost, lvTime(lv))
	}
	snap := g.byCOW[lv.Name]
	length := lv.Extents()
	if snaps := g.byOrigin[lv.Name]; len(snaps) > 0 {
		s.line("LV snapshot status", "source of")
		for _, k := range snaps {
			s.line("", "%s [%s]", k.COW, snapActive(g.states[k.COW]))
		}
	} else if snap != nil {
		s.line("LV snapshot status", "%s destination for %s", snapActive(r.state), snap.Origin)
		if o := g.LV(snap.Origin); o != nil {
			length = o.Extents()
		}
	}
	s.thin(r)
	switch {
	case !r.state.Known:
	case !r.state.Exists:
		s.line("LV Status", "NOT available")
	case r.state.Info.Suspended:
		s.line("LV Status", "suspended")
	default:
		s.line("LV Status", "available")
	}
	if r.state.Exists {
		s.line("# open", "%d", r.state.Info.OpenCount)
	}
	s.line("LV Size", "%s", lvmHuman(g.Sectors(length)))
	s.thinUse(r)
	s.line("Current LE", "%d", length)
	if snap != nil {
		s.line("COW-table size", "%s", lvmHuman(g.Size(lv)))
		s.line("COW-table LE", "%d", lv.Extents())
		if percent, ok := r.state.DataPercent(); ok && snapActive(r.state) == "active" {
			s.line("Allocated to snapshot", "%s%%", lvmPercent(percent))
		}
		s.line("Snapshot chunk size", "%s", lvmHuman(snap.ChunkSize))
	}
	s.line("Segments", "%d", len(lv.Segments))
	s.line("Allocation", "%s", lv.Policy())
	s.readAhead(r)
	if n := lv.Number; n != nil {
		if n.Major >= 0 {
			s.line("Persistent major", "%d", n.Major)
		}
		s.line("Persistent minor", "%d", n.Minor)
	}
	if r.state.Exists && r.state.Info.Dev.Major != kernelOwn {
		s.line("Block device", "%s", r.state.Info.Dev)
	}
	s.blank()
}

func (s *sheet) readAhead(r *lvmRow) {
	want := readAheadSectors(r.lv)
	if r.lv.ReadAhead == lvm.ReadAheadAuto {
		s.line("Read ahead sectors", "auto")
	} else {
		s.line("Read ahead sectors", "%d", want)
	}
	if now, ok := r.kernelReadAhead(); ok && (r.lv.ReadAhead == lvm.ReadAheadAuto || now != want) {
		s.line("- currently set to", "%d", now)
	}
}

// thin is what a thin volume, or a pool, belongs to.
func (s *sheet) thin(r *lvmRow) {
	if p := r.lv.ThinPool(); p != nil {
		s.line("LV Pool metadata", "%s", p.Metadata)
		s.line("LV Pool data", "%s", p.Data)
	}
	t := r.lv.Thin()
	if t == nil {
		return
	}
	s.line("LV Pool name", "%s", t.Pool)
	for _, of := range []struct{ what, name string }{
		{"LV Thin origin name", t.Origin}, {"LV External origin name", t.ExternalOrigin}, {"LV merging to", t.Merge},
	} {
		if of.name != "" {
			s.line(of.what, "%s", of.name)
		}
	}
	if snap := r.group.MergingThin(r.lv.Name); snap != nil {
		s.line("LV merged with", "%s", snap.Name)
	}
}

// thinUse is how much of a pool, or of what a thin volume appears to have, is used.
func (s *sheet) thinUse(r *lvmRow) {
	if r.state.Thin == nil {
		return
	}
	percent := func(what string, n float64, ok bool) {
		if ok {
			s.line(what, "%s%%", lvmPercent(n))
		}
	}
	data, ok := r.state.DataPercent()
	if r.lv.ThinPool() == nil {
		percent("Mapped size", data, ok)
		return
	}
	percent("Allocated pool data", data, ok)
	metadata, ok := r.state.Thin.MetadataPercent()
	percent("Allocated metadata", metadata, ok)
}

// snapActive tells whether a snapshot can be read.
func snapActive(st lvm.LVState) string {
	if st.Exists && st.Snapshot != nil && st.Snapshot.State == dmcore.SnapshotOK {
		return "active"
	}
	return "INACTIVE"
}

func (s *sheet) maps(r *lvmRow) {
	s.title("Segments")
	for _, seg := range r.lv.Segments {
		fmt.Fprintf(&s.b, "  Logical extents %d to %d:\n", seg.Start, seg.Start+seg.Count-1)
		fmt.Fprintf(&s.b, "    Type\t\t%s\n", segType(seg))
		each := seg.Count / max(1, lvm.Extents(len(seg.Stripes)))
		area := func(a lvm.Area, in string) {
			fmt.Fprintf(&s.b, "%sPhysical volume\t%s\n", in, pvDevice(r.group, a.PV))
			fmt.Fprintf(&s.b, "%sPhysical extents\t%d to %d\n", in, a.Start, a.Start+each-1)
		}
		if len(seg.Stripes) == 1 {
			area(seg.Stripes[0], "    ")
			s.blank()
			continue
		}
		fmt.Fprintf(&s.b, "    Stripes\t\t%d\n    Stripe size\t\t%s\n", len(seg.Stripes), lvmHuman(seg.StripeSize))
		for i, a := range seg.Stripes {
			fmt.Fprintf(&s.b, "    Stripe %d:\n", i)
			area(a, "      ")
		}
		s.blank()
	}
	s.blank()
}

func (r *lvmRun) vgDisplay(look *lvmLook) error {
	rows, missing, err := r.rows(look, lvmVGs, lvmOfVG)
	if err != nil {
		return err
	}
	s := &sheet{width: 21}
	for _, row := range rows {
		s.group(row.group)
	}
	_, err = fmt.Fprint(r.stdout, s.b.String())
	return errors.Join(err, missing)
}

// group is what vgdisplay_full shows.
func (s *sheet) group(g *lvmGroup) {
	open, areas, present := 0, 0, 0
	for _, st := range g.states {
		if st.Exists && st.Info.OpenCount > 0 {
			open++
		}
	}
	for _, d := range g.devs {
		areas += d.AreasInUse
	}
	for _, pv := range g.PVs {
		if !pv.Missing() {
			present++
		}
	}
	access, resizable := "read only", "NOT resizable"
	if g.Writable() {
		access = "read/write"
	}
	if vgAttr(g)[1] == 'z' {
		resizable = "resizable"
	}
	total, free := g.TotalExtents(), g.allFree
	s.title("Volume group")
	s.line("VG Name", "%s", g.Name)
	s.line("System ID", "%s", g.SystemID)
	s.line("Format", "lvm2")
	s.line("Metadata Areas", "%d", areas)
	s.line("Metadata Sequence No", "%d", g.Seqno)
	s.line("VG Access", "%s", access)
	s.line("VG Status", "%s", resizable)
	s.line("MAX LV", "%d", g.MaxLV)
	s.line("Cur LV", "%d", len(g.shown))
	s.line("Open LV", "%d", open)
	s.line("Max PV", "%d", g.MaxPV)
	s.line("Cur PV", "%d", len(g.PVs))
	s.line("Act PV", "%d", present)
	s.line("VG Size", "%s", lvmHuman(g.Sectors(total)))
	s.line("PE Size", "%s", lvmHuman(g.ExtentSize))
	s.line("Total PE", "%d", total)
	s.line("Alloc PE / Size", "%d / %s", total-free, lvmHuman(g.Sectors(total-free)))
	s.line("Free  PE / Size", "%d / %s", free, lvmHuman(g.Sectors(free)))
	s.line("VG UUID", "%s", g.ID.Dashed())
	s.blank()
}

func (r *lvmRun) pvDisplay(look *lvmLook) error {
	rows, missing, err := r.rows(look, lvmPVs, lvmOfPV)
	if err != nil {
		return err
	}
	s := &sheet{width: 21}
	for _, row := range rows {
		s.device(row)
	}
	_, err = fmt.Fprint(r.stdout, s.b.String())
	return errors.Join(err, missing)
}

// device is what pvdisplay_full shows.
func (s *sheet) device(r *lvmRow) {
	path, size := "[unknown]", r.pv.DevSize
	if r.dev != nil {
		path, size = r.dev.Path, r.dev.Size
	}
	var extent dmcore.Sectors
	var total, free lvm.Extents
	vg, allocatable := "", "NO"
	text := lvmHuman(size)
	if r.group == nil {
		fmt.Fprintf(&s.b, "  %q is a new physical volume of %q\n", path, text)
		s.title("NEW Physical volume")
	} else {
		s.title("Physical volume")
		vg, extent = r.group.Name, r.group.ExtentSize
		total, free = r.pv.PECount, r.group.free[r.pv.Name]
		var lost dmcore.Sectors
		if data := r.group.Sectors(total); size > data+r.pv.PEStart {
			lost = size - data
		}
		text += " / not usable " + lvmHuman(lost)
		if r.pv.Allocatable() {
			if allocatable = "yes "; free == 0 {
				allocatable = "yes (but full)"
			}
		}
	}
	s.line("PV Name", "%s", path)
	s.line("VG Name", "%s", vg)
	s.line("PV Size", "%s", text)
	s.line("Allocatable", "%s", allocatable)
	s.line("PE Size", "%s", lvmHuman(extent))
	s.line("Total PE", "%d", total)
	s.line("Free PE", "%d", free)
	s.line("Allocated PE", "%d", total-free)
	s.line("PV UUID", "%s", r.pv.ID.Dashed())
	s.blank()
}
