package lvmtext

import (
	"strconv"
	"strings"
	"time"
)

// Reflow prints a VG text as lvm2 2.03.16 would (lib/format_text/export.c): raw,
// as on disk but without the NUL, or as a file, with the comments lvm2 computes
// (times in UTC). The comments of the header (the values at the root) are
// kept, all others are dropped. Unknown entries are printed where they stand.
func Reflow(root *Section, file bool) []byte {
	f := &flow{file: file}
	f.Grow(root.size() * 3 / 2)
	if file {
		f.header(root)
	}
	for _, s := range root.Sections() {
		if v, ok := s.Get("extent_size"); ok {
			f.extent, _ = v.Int()
		}
		f.section(s, 0)
	}
	if !file {
		f.header(root)
	}
	return []byte(f.String())
}

type flow struct {
	strings.Builder
	file   bool
	extent int64 // sectors
}

// header prints the values of the root, each with its comments.
func (f *flow) header(root *Section) {
	previous := ""
	for _, it := range root.items {
		if it.sub != nil {
			continue
		}
		comments := false
		for line := range strings.Lines(it.lead()) {
			if line = strings.TrimSpace(line); strings.HasPrefix(line, "#") {
				f.WriteString(line + "\n")
				comments = true
			}
		}
		if comments || blankBefore(previous, it.name) {
			f.WriteByte('\n')
		}
		v := Value{it.text[it.val:it.valEnd]}
		f.WriteString(printName(it.name) + " = " + v.layout(it.name, ""))
		if c := strings.TrimSpace(it.text[it.valEnd:]); c != "" {
			f.WriteString("\t" + c)
		}
		f.WriteByte('\n')
		previous = it.name
	}
	if previous != "" {
		f.WriteByte('\n')
	}
}

func (f *flow) section(s *Section, depth int) {
	indent := ""
	if f.file {
		indent = strings.Repeat("\t", min(depth, 5)) // MAX_INDENT
	}
	f.WriteString(indent + printName(s.name) + " {\n")
	if f.file {
		indent = strings.Repeat("\t", min(depth+1, 5))
	}
	previous, follows := "", false
	for _, it := range s.items {
		if it.sub != nil {
			if blankBeforeSection(depth, follows) {
				f.WriteByte('\n')
			}
			f.section(it.sub, depth+1)
		} else {
			if blankBefore(previous, it.name) {
				f.WriteByte('\n')
			}
			line := printName(it.name) + " = " + Value{it.text[it.val:it.valEnd]}.layout(it.name, indent)
			f.WriteString(indent + line)
			if c := f.comment(s, it); f.file && c != "" {
				column := len(line)/8 + len(indent) + 1
				f.WriteString(strings.Repeat("\t", max(1, 6-column)) + c)
			}
			f.WriteByte('\n')
		}
		previous, follows = it.name, it.sub != nil
	}
	if depth == 0 {
		f.WriteString(groupTail(s))
	}
	if f.file {
		indent = indent[:len(indent)-1]
	}
	f.WriteString(indent + "}\n")
}

// groupTail is the empty lines lvm2 leaves for the sections a group has not.
func groupTail(vg *Section) string {
	switch {
	case vg.Section("historical_logical_volumes") != nil:
		return ""
	case vg.Section("logical_volumes") != nil:
		return "\n"
	}
	return "\n\n"
}

// blankBefore says where lvm2 puts an empty line between two values.
func blankBefore(previous, key string) bool {
	switch previous {
	case "":
		return false
	case "extent_count", "device":
		return true
	}
	switch key {
	case "stripes", "mirrors", "raids", "description", "creation_host":
		return previous != "creation_time" // of an LV
	case "allocation_policy":
		return previous == "max_pv"
	}
	return false
}

// blankBeforeSection says the same of a section that is depth levels below the
// root and follows another section or not: only the second and later segments of
// an LV, and messages of a segment, have none.
func blankBeforeSection(depth int, follows bool) bool { return depth < 2 || !follows }

// comment is what lvm2 notes behind a value in a file.
func (f *flow) comment(s *Section, it *item) string {
	n, _ := Value{it.text[it.val:it.valEnd]}.Int()
	switch it.name {
	case "format":
		return "# informational"
	case "device":
		return "# Hint only"
	case "extent_size", "dev_size", "ba_size", "stripe_size":
		return sizeComment(n)
	case "chunk_size": // lib/thin/thin.c says its size, lib/snapshot/snapshot.c does not
		if kind, _ := s.Get("type"); strings.HasPrefix(kind.Raw(), `"thin-pool`) {
			return sizeComment(n)
		}
	case "extent_count", "pe_count", "reshape_count":
		return sizeComment(n * f.extent)
	case "stripe_count":
		if n == 1 {
			return "# linear"
		}
	case "read_ahead":
		if n == -1 {
			return "# None"
		}
	case "creation_time", "removal_time":
		return time.Unix(n, 0).UTC().Format("# 2006-01-02 15:04:05 -0700")
	}
	return ""
}

func sizeComment(sectors int64) string {
	units := []string{"Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Petabytes", "Exabytes"}
	size := float64(sectors) / 2
	i := 0
	for ; size > 1024 && i < len(units)-1; i++ {
		size /= 1024
	}
	return "# " + strconv.FormatFloat(size, 'g', 6, 64) + " " + units[i]
}
