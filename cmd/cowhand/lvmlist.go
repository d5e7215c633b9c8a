package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	return slices.Concat(lvmVolumeColumns(), lvmDeviceColumns(), lvmGroupColumns(), lvmSegmentColumns(), lvmRunColumns(), lvmAbsentColumns())
}

// list prints a report of all there is.
func (r *lvmRun) list(ctx context.Context, report lvmReport) error {
	if slices.ContainsFunc(r.args.all("options"), func(o string) bool { return o == "help" || o == "?" }) {
		return r.columnHelp()
	}
	if _, _, _, err := r.layout(report); err != nil { // before a device is read
		return err
	}
	look, err := r.look(ctx)
	if err != nil {
		return err
	}
	return r.printReport(look, report)
}

// columnHelp lists the columns, by what they are about.
func (r *lvmRun) columnHelp() error {
	about := []struct {
		need lvmNeed
		what string
	}{{lvmOfLV, "Logical volume"}, {lvmOfSegment, "Segment"}, {lvmOfVG, "Volume group"}, {lvmOfPV, "Physical volume"}, {lvmOfPVSegment, "Physical volume segment"}}
	for _, a := range about {
		fmt.Fprintf(r.stdout, "  %s fields:\n", a.what)
		for _, c := range lvmColumns() {
			if c.need == a.need {
				fmt.Fprintf(r.stdout, "    %-28s %s\n", c.name, c.title)
			}
		}
	}
	return nil
}

// printReport prints a report of what was found.
func (r *lvmRun) printReport(look *lvmLook, report lvmReport) error {
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
	rows, missing, err := r.rows(look, report, need)
	if err != nil {
		return err
	}
	for _, row := range rows {
		row.units = units
	}
	rows = slices.DeleteFunc(rows, func(row *lvmRow) bool { return !selected(row) })
	if !r.args.has("unbuffered") { // LVM2 prints each row as it finds it then
		lvmSort(rows, keys)
	}
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
			return l, 0, nil, &unknownColumn{name}
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
	return fmt.Sprintf("unrecognised field: %s; -o help lists the fields there are", e.name)
}
