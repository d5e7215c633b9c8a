package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// lvmColumn is a field of LVM2's reports. What it shows of a row is a text and,
// if it is to be sorted and compared as a number, that.
type lvmColumn struct {
	name, title string
	right       bool // numbers stand to the right, titles never
	width       int  // at least; 0: that of the title
	need        lvmNeed
	show        func(*lvmRow) lvmCell
}

// lvmCell is one value.
type lvmCell struct {
	text   string
	key    string // to sort and compare by, if not by the text
	number float64
	isNum  bool
	list   []string // of tags
}

// lvmNeed is what a column is about. A row of a report is one of the narrowest
// things its columns are about.
type lvmNeed int

const (
	lvmOfVG lvmNeed = 1 << iota
	lvmOfLV
	lvmOfSegment
	lvmOfPV
	lvmOfPVSegment
)

// lvmLayout is how a report is printed.
type lvmLayout struct {
	name       string // of a row, in JSON
	columns    []lvmColumn
	noHeadings bool
	unaligned  bool
	separator  string
	prefixes   bool // LVM2_LV_NAME='root'
	unquoted   bool
	transposed bool // --rows
	json       bool
}

// print writes the rows as lvm2 does (2.03.16, libdm/libdm-report.c).
func (l lvmLayout) print(w io.Writer, rows [][]lvmCell) error {
	if l.json {
		return l.printJSON(w, rows)
	}
	if len(rows) == 0 {
		return nil
	}
	var lines [][]string
	if !l.noHeadings {
		var titles []string
		for _, c := range l.columns {
			titles = append(titles, c.title)
		}
		lines = append(lines, titles)
	}
	heads := len(lines)
	for _, r := range rows {
		var line []string
		for i, c := range r {
			text := c.text
			if l.prefixes {
				quote := "'"
				if l.unquoted {
					quote = ""
				}
				text = "LVM2_" + strings.ToUpper(l.columns[i].name) + "=" + quote + text + quote
			}
			line = append(line, text)
		}
		lines = append(lines, line)
	}
	aligned := !l.unaligned && !l.prefixes
	if l.transposed {
		lines, aligned = transpose(lines), false
	}
	if aligned {
		l.align(lines, heads)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintf(w, "  %s\n", strings.Join(line, l.separator)); err != nil {
			return err
		}
	}
	return nil
}

func (l lvmLayout) align(lines [][]string, heads int) {
	for i, c := range l.columns {
		width := max(c.width, len(c.title))
		for _, line := range lines {
			width = max(width, len(line[i]))
		}
		for j, line := range lines {
			pad := strings.Repeat(" ", width-len(line[i]))
			if c.right && j >= heads {
				line[i] = pad + line[i]
			} else {
				line[i] += pad
			}
		}
	}
}

func transpose(lines [][]string) [][]string {
	var out [][]string
	for i := range lines[0] {
		var line []string
		for _, l := range lines {
			line = append(line, l[i])
		}
		out = append(out, line)
	}
	return out
}

func (l lvmLayout) printJSON(w io.Writer, rows [][]lvmCell) error {
	const in = "  " // all that LVM2 prints is indented
	var b strings.Builder
	fmt.Fprintf(&b, in+"{\n"+in+"    \"report\": [\n"+in+"        {\n"+in+"            %q: [\n", l.name)
	for i, r := range rows {
		var fields []string
		for j, c := range r {
			fields = append(fields, fmt.Sprintf(`"%s":"%s"`, l.columns[j].name, lvmEscape.Replace(c.text)))
		}
		comma := ","
		if i == len(rows)-1 {
			comma = ""
		}
		fmt.Fprintf(&b, in+"                {%s}%s\n", strings.Join(fields, ", "), comma)
	}
	b.WriteString(in + "            ]\n" + in + "        }\n" + in + "    ]\n" + in + "}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

var lvmEscape = strings.NewReplacer(`"`, `\"`, `\`, `\\`)

// lvmSortKey is a column to sort by.
type lvmSortKey struct {
	column     lvmColumn
	descending bool
}

func lvmSort(rows []*lvmRow, keys []lvmSortKey) {
	slices.SortStableFunc(rows, func(a, b *lvmRow) int {
		for _, k := range keys {
			c := compareCells(k.column.show(a), k.column.show(b))
			if k.descending {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
}

func compareCells(a, b lvmCell) int {
	if a.isNum || b.isNum {
		return cmp.Compare(a.number, b.number)
	}
	return strings.Compare(cmp.Or(a.key, a.text), cmp.Or(b.key, b.text))
}

// lvmFindColumn finds a column by its name, as lvm2 does: without regard to
// underscores and case, and without the prefix of what is reported.
func lvmFindColumn(columns []lvmColumn, name, prefix string) (lvmColumn, bool) {
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }
	for _, want := range []string{plain(name), plain(prefix + name)} {
		for _, c := range columns {
			if plain(c.name) == want {
				return c, true
			}
		}
	}
	return lvmColumn{}, false
}
