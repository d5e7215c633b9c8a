package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// figure is what some rounds measured: the more the faster. The zero value is none.
type figure []float64

func (f figure) median() float64 {
	if len(f) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(f))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// ratio is ours by the best of the peers, as printed, with a mark if it is less than the target.
func ratio(ours figure, peers ...figure) string {
	best := 0.0
	for _, p := range peers {
		best = max(best, p.median())
	}
	if best == 0 || len(ours) == 0 {
		return "-"
	}
	r := ours.median() / best
	mark := ""
	if r < target {
		mark = " !"
	}
	return fmt.Sprintf("%.2fx%s", r, mark)
}

// page is a table that is printed when it is complete.
type page struct{ w *tabwriter.Writer }

func newPage(columns ...string) page {
	p := page{tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', 0)}
	p.row(columns...)
	rule := make([]string, len(columns))
	for i, c := range columns {
		rule[i] = strings.Repeat("-", len(c))
	}
	p.row(rule...)
	return p
}

func (p page) row(cells ...string) { fmt.Fprintln(p.w, strings.Join(cells, "\t")) }

func (p page) print() error { return p.w.Flush() }
