package lvm

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Place is the physical volume as a place to allocate from, limited to ranges of
// its extents if there are some: "0-9:20-" is the first ten, and all from the 20th
// on; "5+3" is three from the fifth on (lvm2 2.03.16, tools/toollib.c,
// _parse_pes).
func (pv *PV) Place(ranges string) (string, error) {
	if ranges == "" {
		return pv.Name, nil
	}
	place := pv.Name
	for r := range strings.SplitSeq(ranges, ":") {
		first, last, err := parseRange(r, pv.PECount)
		if err == nil && last >= pv.PECount {
			err = fmt.Errorf("it has %d extents", pv.PECount)
		}
		if err != nil {
			return "", fmt.Errorf("extents %q of %s: %w: %w", r, pv.Name, err, ErrInvalid)
		}
		place += fmt.Sprintf(":%d-%d", first, last)
	}
	return place, nil
}

// parseRange reads "4", "4-7", "4-", "-7" or "4+3".
func parseRange(s string, count Extents) (first, last Extents, err error) {
	number := func(s string, otherwise Extents) Extents {
		if s == "" {
			return otherwise
		}
		n, e := strconv.ParseUint(s, 10, 32)
		if e != nil {
			err = fmt.Errorf("want numbers such as 4-7")
		}
		return Extents(n)
	}
	if from, n, ok := strings.Cut(s, "+"); ok {
		first = number(from, 0)
		last = first + number(n, count-min(first, count)) - 1
	} else if from, to, ok := strings.Cut(s, "-"); ok {
		first, last = number(from, 0), number(to, max(count, 1)-1)
	} else {
		first = number(s, 0)
		last = first
	}
	if err == nil && (last < first || s == "") {
		err = fmt.Errorf("there is none")
	}
	return first, last, err
}

// places are physical volumes as [PV.Place] names them: the ranges of each,
// joined and in order; none for a whole volume.
func places(list []string) map[string][]Run {
	m := map[string][]Run{}
	whole := map[string]bool{}
	for _, place := range list {
		name, ranges, limited := strings.Cut(place, ":")
		whole[name] = whole[name] || !limited
		if _, known := m[name]; !known {
			m[name] = nil
		}
		for limited {
			var r string
			r, ranges, limited = strings.Cut(ranges, ":")
			if first, last, err := parseRange(r, 0); err == nil {
				m[name] = append(m[name], Run{name, first, last - first + 1})
			}
		}
	}
	for name, runs := range m {
		if whole[name] {
			m[name] = nil
			continue
		}
		slices.SortFunc(runs, func(a, b Run) int { return cmp.Compare(a.Start, b.Start) })
		var joined []Run
		for _, r := range runs {
			if n := len(joined); n > 0 && r.Start <= joined[n-1].end() {
				joined[n-1].Count = max(joined[n-1].end(), r.end()) - joined[n-1].Start
				continue
			}
			joined = append(joined, r)
		}
		m[name] = joined
	}
	return m
}

// within are the parts of runs that lie in the places, all of them if none are
// given.
func within(runs []Run, list []string) []Run {
	if len(list) == 0 {
		return runs
	}
	allowed := places(list)
	var left []Run
	for _, r := range runs {
		ranges, ok := allowed[r.PV]
		if ok && len(ranges) == 0 {
			left = append(left, r)
		}
		for _, a := range ranges {
			if first, end := max(r.Start, a.Start), min(r.end(), a.end()); first < end {
				left = append(left, Run{r.PV, first, end - first})
			}
		}
	}
	return left
}
