package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// table is what a command found, printed as --output wants it. The keys of rows
// are the field names of JSON, a contract.
type table struct {
	Name    string // the key in JSON
	Columns []column
	Rows    []row
}

type column struct{ Field, Title string }

type row map[string]any

// print prints rows with the columns and in the order that were asked for.
func (h *host) print(t table) error {
	cols, err := h.columns(t)
	if err != nil {
		return err
	}
	if h.sort != "" {
		key := strings.TrimPrefix(h.sort, "-")
		if !slices.ContainsFunc(t.Columns, func(c column) bool { return c.Field == key }) {
			return usagef("--sort %q: columns are %s", key, fieldNames(t.Columns))
		}
		slices.SortStableFunc(t.Rows, func(a, b row) int { return compare(a[key], b[key]) })
		if key != h.sort {
			slices.Reverse(t.Rows)
		}
	}
	switch h.output {
	case "json":
		rows := []row{} // every field in every row, so that readers need not ask
		for _, r := range t.Rows {
			full := row{}
			for _, c := range t.Columns {
				full[c.Field] = r[c.Field]
			}
			rows = append(rows, full)
		}
		enc := json.NewEncoder(h.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(map[string]any{t.Name: rows})
	case "yaml":
		return h.printYAML(t, cols)
	case "csv":
		w := csv.NewWriter(h.stdout)
		w.Write(names(cols))
		for _, r := range t.Rows {
			w.Write(cells(r, cols))
		}
		w.Flush()
		return w.Error()
	case "name":
		for _, r := range t.Rows {
			fmt.Fprintln(h.stdout, cells(r, cols[:1])[0])
		}
		return nil
	}
	w := tabwriter.NewWriter(h.stdout, 0, 8, 2, ' ', 0)
	var titles []string
	for _, c := range cols {
		titles = append(titles, c.Title)
	}
	fmt.Fprintln(w, strings.Join(titles, "\t"))
	for _, r := range t.Rows {
		line := cells(r, cols)
		for i, s := range line {
			if s == "" {
				line[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(line, "\t"))
	}
	return w.Flush()
}

func (h *host) columns(t table) ([]column, error) {
	if len(h.fields) == 0 {
		return t.Columns, nil
	}
	var cols []column
	for _, f := range h.fields {
		i := slices.IndexFunc(t.Columns, func(c column) bool { return c.Field == f })
		if i < 0 {
			return nil, usagef("--fields %q: columns are %s", f, fieldNames(t.Columns))
		}
		cols = append(cols, t.Columns[i])
	}
	return cols, nil
}

func names(cols []column) []string {
	var n []string
	for _, c := range cols {
		n = append(n, c.Field)
	}
	return n
}

func fieldNames(cols []column) string { return strings.Join(names(cols), ", ") }

func cells(r row, cols []column) []string {
	line := make([]string, len(cols))
	for i, c := range cols {
		switch v := r[c.Field].(type) {
		case nil:
		case []string:
			line[i] = strings.Join(v, ",")
		case float64:
			line[i] = fmt.Sprintf("%.2f", v)
		default:
			line[i] = fmt.Sprint(v)
		}
	}
	return line
}

func compare(a, b any) int {
	if x, ok := a.(int64); ok {
		if y, ok := b.(int64); ok {
			return int(min(max(x-y, -1), 1))
		}
	}
	return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

// printYAML writes a list of maps with scalars only; strings are quoted as JSON
// quotes them, which YAML reads alike.
func (h *host) printYAML(t table, cols []column) error {
	fmt.Fprintf(h.stdout, "%s:", t.Name)
	if len(t.Rows) == 0 {
		fmt.Fprint(h.stdout, " []")
	}
	fmt.Fprintln(h.stdout)
	for _, r := range t.Rows {
		for i, c := range cols {
			b, err := json.Marshal(r[c.Field])
			if err != nil {
				return err
			}
			lead := "    "
			if i == 0 {
				lead = "  - "
			}
			fmt.Fprintf(h.stdout, "%s%s: %s\n", lead, c.Field, b)
		}
	}
	return nil
}
