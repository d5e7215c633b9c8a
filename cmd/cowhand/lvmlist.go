package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cowhand/dmcore"
	"cowhand/lvm"
)

const lvmReportFlags = `options|o: sort|O: noheadings headings: units: nosuffix separator: aligned unquoted nameprefixes rows unbuffered
	reportformat: all|a segments select|S: binary partial|P foreign shared nolocking ignoreskippedcluster configreport: logonly history|H`

func lvmReportVerbs() []lvmVerb {
	return []lvmVerb{
		{"pvs", "list physical volumes", "[PATH|@TAG...]", lvmReportFlags, func(ctx context.Context, r *lvmRun) error { return r.list(ctx, lvmPVs) }},
		{"vgs", "list volume groups", "[VG|@TAG...]", lvmReportFlags, func(ctx context.Context, r *lvmRun) error { return r.list(ctx, lvmVGs) }},
		{"lvs", "list volumes", "[VG|VG/LV|@TAG...]", lvmReportFlags, func(ctx context.Context, r *lvmRun) error { return r.list(ctx, lvmLVs) }},
	}
}

// lvmReport is one of the reports: what its rows are and what they show unless
// asked otherwise (lvm2 2.03.16, lib/config/defaults.h).
type lvmReport struct {
	name, prefix string
	columns      string
	verbose      string
	segments     string // with --segments
	segmentsLong string
	sort         string
	sortSegments string
}

var (
	lvmPVs = lvmReport{"pv", "pv_",
		"pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free",
		"pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,dev_size,pv_uuid",
		"pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,pvseg_start,pvseg_size",
		"pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,pvseg_start,pvseg_size,lv_name,seg_start_pe,segtype,seg_pe_ranges",
		"pv_name", "pv_name,pvseg_start"}
	lvmVGs = lvmReport{"vg", "vg_",
		"vg_name,pv_count,lv_count,snap_count,vg_attr,vg_size,vg_free",
		"vg_name,vg_attr,vg_extent_size,pv_count,lv_count,snap_count,vg_size,vg_free,vg_uuid,vg_profile",
		"", "", "vg_name", "vg_name"}
	lvmLVs = lvmReport{"lv", "lv_",
		"lv_name,vg_name,lv_attr,lv_size,pool_lv,origin,data_percent,metadata_percent,move_pv,mirror_log,copy_percent,convert_lv",
		"lv_name,vg_name,seg_count,lv_attr,lv_size,lv_major,lv_minor,lv_kernel_major,lv_kernel_minor,pool_lv,origin,data_percent,metadata_percent,move_pv,copy_percent,mirror_log,convert_lv,lv_uuid,lv_profile",
		"lv_name,vg_name,lv_attr,stripes,segtype,seg_size",
		"lv_name,vg_name,lv_attr,seg_start,seg_size,stripes,segtype,stripe_size,chunk_size",
		"vg_name,lv_name", "vg_name,lv_name,seg_start"}
)

// lvmColumns are all the columns there are.
func lvmColumns() []lvmColumn {
	return slices.Concat(lvmVolumeColumns(), lvmDeviceColumns(), lvmGroupColumns(), lvmSegmentColumns(), lvmRunColumns())
}

// list prints a report.
func (r *lvmRun) list(ctx context.Context, report lvmReport) error {
	layout, need, keys, err := r.layout(report)
	if err != nil {
		return err
	}
	units, err := lvmParseUnits(orString(r.args.get("units"), "r"))
	if err != nil {
		return err
	}
	units.noSuffix = r.args.has("nosuffix")
	selected, err := lvmSelection(lvmColumns(), report.prefix, r.args.get("select"))
	if err != nil {
		return err
	}
	look, err := r.look(ctx)
	if err != nil {
		return err
	}
	rows, missing, err := r.rows(look, report, need)
	if err != nil {
		return err
	}
	for _, row := range rows {
		row.units = units
	}
	rows = slices.DeleteFunc(rows, func(row *lvmRow) bool { return !selected(row) })
	lvmSort(rows, keys)
	var cells [][]lvmCell
	for _, row := range rows {
		var line []lvmCell
		for _, c := range layout.columns {
			line = append(line, c.show(row))
		}
		cells = append(cells, line)
	}
	return errors.Join(layout.print(r.stdout, cells), missing)
}

func orString(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// layout reads the flags of how to print.
func (r *lvmRun) layout(report lvmReport) (l lvmLayout, need lvmNeed, keys []lvmSortKey, err error) {
	a := r.args
	l = lvmLayout{name: report.name, noHeadings: a.has("noheadings"), separator: " ", prefixes: a.has("nameprefixes"),
		unquoted: a.has("unquoted"), transposed: a.has("rows")}
	switch a.get("headings") {
	case "", "1", "y", "abbrev":
	case "0", "n", "none":
		l.noHeadings = true
	default:
		return l, 0, nil, lvmValue("headings", a.get("headings"))
	}
	if a.has("separator") {
		l.separator, l.unaligned = a.get("separator"), !a.has("aligned")
	}
	switch f := a.get("reportformat"); f {
	case "", "basic":
	case "json":
		l.json = true
	default:
		return l, 0, nil, lvmValue("reportformat", f)
	}
	text, sort := report.columns, report.sort
	verbose := a.has("verbose")
	switch {
	case a.has("segments") && report.segments != "":
		text, sort = report.segments, report.sortSegments
		if verbose {
			text = report.segmentsLong
		}
	case verbose:
		text = report.verbose
	}
	all := lvmColumns()
	if l.columns, err = lvmChoose(all, report.prefix, text, a.all("options")); err != nil {
		return l, 0, nil, err
	}
	for _, c := range l.columns {
		need |= c.need
	}
	if need&(lvmOfSegment|lvmOfPVSegment) != 0 {
		sort = report.sortSegments
	}
	if a.has("sort") {
		sort = a.get("sort")
	}
	for k := range strings.SplitSeq(sort, ",") {
		name := strings.TrimLeft(k, "+-")
		if name == "" {
			continue
		}
		c, ok := lvmFindColumn(all, name, report.prefix)
		if !ok {
			return l, 0, nil, usagef("unrecognised sort field: %s", name)
		}
		need |= c.need & (lvmOfSegment | lvmOfPVSegment)
		keys = append(keys, lvmSortKey{c, strings.HasPrefix(k, "-")})
	}
	return l, need, keys, nil
}

// lvmChoose applies each -o: "a,b" instead of the columns, "+a,b" beside them,
// "-a,b" without them.
func lvmChoose(all []lvmColumn, prefix, standard string, options []string) ([]lvmColumn, error) {
	find := func(list string) ([]lvmColumn, error) {
		var found []lvmColumn
		for name := range strings.SplitSeq(list, ",") {
			name = strings.TrimSpace(name)
			if name == "" {
				continue
			}
			if group := lvmAll(all, prefix, name); group != nil {
				found = append(found, group...)
				continue
			}
			c, ok := lvmFindColumn(all, name, prefix)
			if !ok {
				return nil, &unknownColumn{name}
			}
			found = append(found, c)
		}
		return found, nil
	}
	chosen, err := find(standard)
	if err != nil {
		return nil, err
	}
	for _, o := range options {
		list := strings.TrimLeft(o, "+-#")
		columns, err := find(list)
		if err != nil {
			return nil, err
		}
		switch {
		case strings.HasPrefix(o, "+"):
			chosen = append(chosen, columns...)
		case strings.HasPrefix(o, "-"):
			chosen = slices.DeleteFunc(chosen, func(c lvmColumn) bool {
				return slices.ContainsFunc(columns, func(d lvmColumn) bool { return c.name == d.name })
			})
		case strings.HasPrefix(o, "#"):
			return nil, usagef("invalid argument for --options: %s", o)
		default:
			chosen = columns
		}
	}
	return chosen, nil
}

// lvmAll is what "all", "lv_all" and the like stand for.
func lvmAll(all []lvmColumn, prefix, name string) []lvmColumn {
	if name == "all" {
		name = prefix + "all"
	}
	need, ok := map[string]lvmNeed{"lv_all": lvmOfLV, "vg_all": lvmOfVG, "pv_all": lvmOfPV, "seg_all": lvmOfSegment, "pvseg_all": lvmOfPVSegment}[name]
	if !ok {
		return nil
	}
	var found []lvmColumn
	for _, c := range all {
		if c.need == need {
			found = append(found, c)
		}
	}
	return found
}

// unknownColumn is a column that does not exist. LVM2 exits with 5 for it.
type unknownColumn struct{ name string }

func (e *unknownColumn) Error() string {
	var names []string
	for _, c := range lvmColumns() {
		names = append(names, c.name)
	}
	return fmt.Sprintf("unrecognised field: %s\nfields are: %s", e.name, strings.Join(names, " "))
}

// lvmLook is all that reports tell of.
type lvmLook struct {
	groups []*lvmGroup
	broken map[string]error // groups that cannot be used
	pvs    []lvm.Volume
	states map[string]map[string]lvm.LVState // by group and volume
}

func (l *lvmLook) group(name string) (*lvmGroup, error) {
	for _, g := range l.groups {
		if g.Name == name {
			return g, nil
		}
	}
	if err := l.broken[name]; err != nil {
		return nil, err
	}
	return nil, &lvm.Error{VG: name, Err: fmt.Errorf("volume group: %w", lvm.ErrNotFound)}
}

// look reads all metadata and asks the engine, if one runs, for devices.
func (r *lvmRun) look(ctx context.Context) (*lvmLook, error) {
	e, running, err := r.observer()
	if err != nil {
		return nil, err
	}
	listing, err := e.Store.Scan(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range listing.Problems {
		r.warn("WARNING: %v", p)
	}
	look := &lvmLook{broken: map[string]error{}, pvs: listing.PVs, states: map[string]map[string]lvm.LVState{}}
	var infos map[dmcore.UUID]dmcore.Info
	known := r.args.get("driverloaded") != "n"
	if running && known {
		list, err := e.DM.List(ctx)
		if err != nil {
			return nil, err
		}
		infos = map[dmcore.UUID]dmcore.Info{}
		for _, i := range list {
			infos[i.UUID] = i
		}
	}
	for _, g := range listing.Groups {
		if g.Err != nil {
			look.broken[g.VG.Name] = g.Err
			continue
		}
		look.groups = append(look.groups, newLVMGroup(g.VG, listing.PVs))
		states := map[string]lvm.LVState{}
		var live map[string]lvm.State
		if infos != nil {
			if live, err = e.States(ctx, g.VG); err != nil {
				return nil, err
			}
		}
		for _, lv := range g.VG.LVs {
			info, exists := infos[dmcore.BuildUUID(string(g.VG.ID), string(lv.ID), "")]
			states[lv.Name] = lvm.LVState{Known: known, Exists: exists, Info: info, Snapshot: live[lv.Name].Snapshot}
		}
		look.states[g.VG.Name] = states
	}
	return look, nil
}

// rows finds what the words of the command line name, as rows of a report.
// What is not found does not keep the rest from being shown.
func (r *lvmRun) rows(look *lvmLook, report lvmReport, need lvmNeed) (rows []*lvmRow, missing, err error) {
	switch report.name {
	case "pv":
		if need&(lvmOfLV|lvmOfSegment) != 0 {
			need |= lvmOfPVSegment
		}
		return r.pvRows(look, need)
	case "vg":
		switch {
		case need&lvmOfPV != 0 && need&(lvmOfLV|lvmOfSegment) != 0, need&lvmOfPVSegment != 0:
			return nil, nil, usagef("cannot report fields of physical and of logical volumes at the same time")
		case need&lvmOfPV != 0:
			return r.vgRows(look, func(g *lvmGroup) []*lvmRow { return groupPVs(g, look.pvs) })
		case need&(lvmOfLV|lvmOfSegment) != 0:
			return r.vgRows(look, func(g *lvmGroup) []*lvmRow { return r.groupLVs(look, g, g.LVs, need) })
		}
		return r.vgRows(look, func(g *lvmGroup) []*lvmRow { return []*lvmRow{{group: g}} })
	}
	if need&(lvmOfPV|lvmOfPVSegment) != 0 {
		return nil, nil, usagef("cannot report fields of physical and of logical volumes at the same time")
	}
	return r.lvRows(look, need)
}

func (r *lvmRun) vgRows(look *lvmLook, of func(*lvmGroup) []*lvmRow) (rows []*lvmRow, missing, err error) {
	var errs []error
	seen := map[string]bool{}
	take := func(g *lvmGroup) {
		if seen[g.Name] {
			return
		}
		seen[g.Name] = true
		some := of(g)
		if len(some) == 0 {
			some = []*lvmRow{{group: g}}
		}
		rows = append(rows, some...)
	}
	if len(r.args.words) == 0 {
		for _, g := range look.groups {
			take(g)
		}
	}
	for _, w := range r.args.words {
		if tag, ok := strings.CutPrefix(w, "@"); ok {
			for _, g := range look.groups {
				if hasTag(g.Tags, tag) {
					take(g)
				}
			}
			continue
		}
		name, err := lvmGroupName(w)
		if err != nil {
			return nil, nil, err
		}
		g, err := look.group(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		take(g)
	}
	return rows, errors.Join(errs...), nil
}

func groupPVs(g *lvmGroup, pvs []lvm.Volume) []*lvmRow {
	var rows []*lvmRow
	for _, pv := range g.PVs {
		rows = append(rows, &lvmRow{group: g, pv: pv, dev: deviceOf(pv, pvs)})
	}
	return rows
}

func deviceOf(pv *lvm.PV, pvs []lvm.Volume) *lvm.Volume {
	for i := range pvs {
		if pvs[i].ID == pv.ID && pvs[i].Path == pv.Device {
			return &pvs[i]
		}
	}
	return nil
}

// groupLVs are rows of volumes, or of their segments; of hidden volumes only
// with -a, of the helpers of snapshots never.
func (r *lvmRun) groupLVs(look *lvmLook, g *lvmGroup, lvs []*lvm.LV, need lvmNeed) []*lvmRow {
	var rows []*lvmRow
	for _, lv := range lvs {
		if g.helpers[lv.Name] || !g.shown[lv.Name] && !r.args.has("all") {
			continue
		}
		row := &lvmRow{group: g, lv: lv, state: look.states[g.Name][lv.Name]}
		if need&lvmOfSegment == 0 {
			rows = append(rows, row)
			continue
		}
		for _, s := range lv.Segments {
			of := *row
			of.seg = s
			rows = append(rows, &of)
		}
	}
	return rows
}

func (r *lvmRun) lvRows(look *lvmLook, need lvmNeed) (rows []*lvmRow, missing, err error) {
	var errs []error
	seen := map[*lvm.LV]bool{}
	take := func(g *lvmGroup, lvs ...*lvm.LV) {
		for _, lv := range lvs {
			if !seen[lv] {
				seen[lv] = true
				rows = append(rows, r.groupLVs(look, g, []*lvm.LV{lv}, need)...)
			}
		}
	}
	if len(r.args.words) == 0 {
		for _, g := range look.groups {
			take(g, g.LVs...)
		}
	}
	for _, w := range r.args.words {
		if tag, ok := strings.CutPrefix(w, "@"); ok {
			for _, g := range look.groups {
				for _, lv := range g.LVs {
					if lv.HasTag(tag) || hasTag(g.Tags, tag) {
						take(g, lv)
					}
				}
			}
			continue
		}
		vg, name, err := lvm.SplitName(strings.TrimRight(w, "/"))
		if err != nil {
			return nil, nil, usagef("%s", err)
		}
		g, err := look.group(vg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if name == "" {
			take(g, g.LVs...)
			continue
		}
		lv := g.LV(name)
		if lv == nil || g.helpers[name] {
			errs = append(errs, &lvm.Error{VG: vg, LV: name, Err: lvm.ErrNotFound})
			continue
		}
		hidden := !g.shown[name] // asked for by name, it is shown
		take(g, lv)
		if hidden && !r.args.has("all") {
			g.shown[name] = true
			rows = append(rows, r.groupLVs(look, g, []*lvm.LV{lv}, need)...)
			g.shown[name] = false
		}
	}
	return rows, errors.Join(errs...), nil
}

func (r *lvmRun) pvRows(look *lvmLook, need lvmNeed) (rows []*lvmRow, missing, err error) {
	var all []*lvmRow
	for _, g := range look.groups {
		all = append(all, groupPVs(g, look.pvs)...)
	}
	for i, d := range look.pvs {
		if !slices.ContainsFunc(all, func(r *lvmRow) bool { return r.pv.ID == d.ID }) {
			all = append(all, &lvmRow{pv: &lvm.PV{ID: d.ID, Device: d.Path}, dev: &look.pvs[i]})
		}
	}
	if len(r.args.words) > 0 {
		var errs []error
		var some []*lvmRow
		for _, w := range r.args.words {
			if tag, ok := strings.CutPrefix(w, "@"); ok {
				for _, row := range all {
					if hasTag(row.pv.Tags, tag) || row.group != nil && hasTag(row.group.Tags, tag) {
						some = append(some, row)
					}
				}
				continue
			}
			path, err := r.listed(w)
			if err != nil {
				return nil, nil, err
			}
			i := slices.IndexFunc(all, func(row *lvmRow) bool { return row.dev != nil && row.dev.Path == path })
			if i < 0 {
				errs = append(errs, fmt.Errorf("%s: physical volume: %w", w, lvm.ErrNotFound))
				continue
			}
			some = append(some, all[i])
		}
		all, missing = some, errors.Join(errs...)
	}
	if need&lvmOfPVSegment == 0 {
		return all, missing, nil
	}
	for _, row := range all {
		rows = append(rows, pvRuns(look, row)...)
	}
	return rows, missing, nil
}

// pvRuns are the runs of extents on a physical volume, in use and free.
func pvRuns(look *lvmLook, row *lvmRow) []*lvmRow {
	if row.group == nil {
		return []*lvmRow{row}
	}
	var rows []*lvmRow
	g := row.group
	for _, lv := range g.LVs {
		for _, s := range lv.Segments {
			for _, a := range s.Stripes {
				if a.PV == row.pv.Name {
					of := *row
					of.lv, of.seg, of.state = lv, s, look.states[g.Name][lv.Name]
					of.run = &lvm.Run{PV: a.PV, Start: a.Start, Count: s.Count / lvm.Extents(len(s.Stripes))}
					rows = append(rows, &of)
				}
			}
		}
	}
	for _, f := range g.FreeRuns() {
		if f.PV == row.pv.Name {
			of := *row
			of.run = &f
			rows = append(rows, &of)
		}
	}
	return rows
}
