package devscan

import (
	"fmt"
	"regexp"
	"slices"
)

// Filter is a list of patterns that accept or reject names, as devices/filter.
// nil accepts all.
type Filter struct{ patterns []pattern }

type pattern struct {
	text   string
	accept bool
	re     *regexp.Regexp
}

// ParseFilter reads patterns such as a|^/dev/sd| and r/.*/: 'a' or 'r', then an
// expression between any two equal bytes or a pair of brackets
// (lib/filters/filter-regex.c, _extract_pattern).
func ParseFilter(patterns []string) (*Filter, error) {
	if patterns == nil {
		return nil, nil
	}
	f := &Filter{}
	for _, text := range patterns {
		p, err := parsePattern(text)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", text, err)
		}
		f.patterns = append(f.patterns, p)
	}
	return f, nil
}

func parsePattern(text string) (pattern, error) {
	if text == "" || text[0] != 'a' && text[0] != 'r' {
		return pattern{}, fmt.Errorf("want 'a' or 'r' at its beginning: %w", ErrInvalid)
	}
	if len(text) < 3 {
		return pattern{}, fmt.Errorf("want an expression between two delimiters: %w", ErrInvalid)
	}
	end := text[1]
	switch end {
	case '(':
		end = ')'
	case '[':
		end = ']'
	case '{':
		end = '}'
	}
	if text[len(text)-1] != end {
		return pattern{}, fmt.Errorf("want %q at its end: %w", string(end), ErrInvalid)
	}
	re, err := compileRegex(text[2 : len(text)-1])
	return pattern{text, text[0] == 'a', re}, err
}

// choose asks for a device by its names. Each name is judged by the first
// pattern that it matches; one that is accepted is enough, and becomes the
// device's first name. If none is, one that was rejected is enough. The pattern
// is the one that decided, "" if none did (_accept_p).
func (f *Filter) choose(names []string) (ordered []string, accept bool, by string) {
	if f == nil {
		return names, true, ""
	}
	accept = true
	for i, name := range names {
		at := slices.IndexFunc(f.patterns, func(p pattern) bool { return matches(p.re, name) })
		if at < 0 {
			continue
		}
		p := f.patterns[at]
		if p.accept {
			ordered = append([]string{name}, slices.Delete(slices.Clone(names), i, i+1)...)
			return ordered, true, p.text
		}
		accept, by = false, p.text
	}
	return names, accept, by
}
