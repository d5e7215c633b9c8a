package main

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"cowhand/lvm"
)

// chosen are the volumes that the command line names or, with --select, those of
// them, or of all, that are as it says now.
func (r *lvmRun) chosen(ctx context.Context, e *lvm.Engine) ([]lvmFound, error) {
	if !r.args.has("select") {
		found, err := lvmVolumes(ctx, e, r.args.words)
		if err == nil && len(found) == 0 && len(r.args.words) > 0 { // LVM2 is silent: a tag may be of none
			r.warn("No volume has the tag %s.", strings.Join(r.args.words, " or "))
		}
		return found, err
	}
	selected, err := lvmSelection(lvmColumns(), lvmLVs.prefix, r.args.get("select"))
	if err != nil {
		return nil, err
	}
	units, err := lvmParseUnits("r")
	if err != nil {
		return nil, err
	}
	look, err := r.look(ctx)
	if err != nil {
		return nil, err
	}
	rows, missing, err := r.rows(look, lvmLVs, lvmOfLV)
	if err = errors.Join(err, missing); err != nil {
		return nil, err
	}
	var words []string
	for _, row := range rows {
		if row.units = units; selected(row) {
			words = append(words, row.group.Name+"/"+row.lv.Name)
		}
	}
	return lvmVolumes(ctx, e, words)
}

// lvmSelection reads --select: comparisons joined by "&&" or ",", those by
// "||". A comparison is FIELD and one of = != < <= > >= and a value, which may
// stand in quotes. Tags match if the list has the tag.
func lvmSelection(columns []lvmColumn, prefix, text string) (func(*lvmRow) bool, error) {
	if strings.TrimSpace(text) == "" {
		return func(*lvmRow) bool { return true }, nil
	}
	var any [][]func(*lvmRow) bool
	for alternative := range strings.SplitSeq(text, "||") {
		var all []func(*lvmRow) bool
		for term := range strings.SplitSeq(strings.ReplaceAll(alternative, ",", "&&"), "&&") {
			f, err := lvmComparison(columns, prefix, strings.TrimSpace(term))
			if err != nil {
				return nil, err
			}
			all = append(all, f)
		}
		any = append(any, all)
	}
	return func(r *lvmRow) bool {
		for _, all := range any {
			ok := true
			for _, f := range all {
				ok = ok && f(r)
			}
			if ok {
				return true
			}
		}
		return false
	}, nil
}

func lvmComparison(columns []lvmColumn, prefix, term string) (func(*lvmRow) bool, error) {
	at := strings.IndexAny(term, "=!<>")
	if at <= 0 {
		return nil, lvmValue("select", term)
	}
	end := at + 1
	for end < len(term) && strings.IndexByte("=~", term[end]) >= 0 {
		end++
	}
	name, op, value := strings.TrimSpace(term[:at]), term[at:end], strings.TrimSpace(term[end:])
	value = strings.Trim(value, `"'{}[]`)
	c, ok := lvmFindColumn(columns, name, prefix)
	if !ok {
		return nil, &unknownColumn{name}
	}
	number, isNum := lvmSelectNumber(value)
	order := func(r *lvmRow) int {
		cell := c.show(r)
		if cell.isNum && isNum {
			return compareCells(cell, lvmCell{number: number, isNum: true})
		}
		for _, tag := range cell.list {
			if tag == value {
				return 0
			}
		}
		return compareCells(cell, lvmCell{text: value})
	}
	is := map[string]func(int) bool{
		"=": func(n int) bool { return n == 0 }, "!=": func(n int) bool { return n != 0 },
		"<": func(n int) bool { return n < 0 }, "<=": func(n int) bool { return n <= 0 },
		">": func(n int) bool { return n > 0 }, ">=": func(n int) bool { return n >= 0 },
	}[op]
	if is == nil {
		return nil, usagef("--select: %q is no comparison known here: want = != < <= > >=", op)
	}
	return func(r *lvmRow) bool { return is(order(r)) }, nil
}

// lvmSelectNumber reads a number, or a size as bytes.
func lvmSelectNumber(value string) (float64, bool) {
	if f, err := strconv.ParseFloat(value, 64); err == nil {
		return f, true
	}
	if s, err := lvm.ParseSize(value); err == nil && s.Bytes > 0 {
		return float64(s.Bytes), true
	}
	return 0, false
}
