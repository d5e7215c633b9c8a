package configs

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// walker compares a document with the type of the settings and collects what
// does not fit, with its place.
type walker struct {
	file     string
	problems []Problem
	at       map[string]*yaml.Node // where each key's value stands
}

func (w *walker) bad(n *yaml.Node, key, format string, args ...any) {
	w.problems = append(w.problems, Problem{w.file, n.Line, n.Column, key, fmt.Sprintf(format, args...)})
}

// refuseAliases refuses what could make a small file large. It does not recurse:
// the depth of the document is its author's.
func (w *walker) refuseAliases(root *yaml.Node) {
	todo := []*yaml.Node{root}
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = append(todo[:len(todo)-1], n.Content...)
		if n.Kind == yaml.AliasNode {
			w.bad(n, "", "an alias: anchors and aliases are not read")
		} else if n.Anchor != "" {
			w.bad(n, "", "an anchor: anchors and aliases are not read")
		}
	}
}

func (w *walker) config(root *yaml.Node) { w.section(root, "", reflect.TypeFor[Config]()) }

// section walks a mapping that fills a struct.
func (w *walker) section(n *yaml.Node, key string, t reflect.Type) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // a section of nothing but comments
	}
	if n.Kind != yaml.MappingNode {
		w.bad(n, key, "want keys and values (%s), have %s", strings.Join(fieldNames(t), ", "), describe(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		full := join(key, k.Value)
		f, known := field(t, k.Value)
		switch line, twice := seen[k.Value]; {
		case k.Kind != yaml.ScalarNode:
			w.bad(k, key, "%s is no key", describe(k))
		case !known:
			w.bad(k, "", "unknown key %s%s", join(key, describe(k)), suggest(full, k.Value, fieldNames(t), key))
		case twice:
			w.bad(k, full, "is set twice, first in line %d", line)
		case isSection(f.Type):
			w.at[full] = v
			w.section(v, full, f.Type)
		default:
			w.at[full] = v
			w.value(v, full, f.Type)
		}
		seen[k.Value] = k.Line
	}
}

// value checks that a value can be read as t.
func (w *walker) value(n *yaml.Node, key string, t reflect.Type) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		w.bad(n, key, "has no value: leave the key out to have the default")
		return
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			w.bad(n, key, "want a list, have %s", describe(n))
			return
		}
		for i, item := range n.Content {
			full := fmt.Sprintf("%s[%d]", key, i)
			w.at[full] = item
			w.value(item, full, t.Elem())
		}
		return
	case n.Kind != yaml.ScalarNode:
		w.bad(n, key, "want %s, have %s", want(t), describe(n))
		return
	}
	v := reflect.New(t)
	if u, ok := v.Interface().(encoding.TextUnmarshaler); ok {
		if err := u.UnmarshalText([]byte(n.Value)); err != nil {
			w.bad(n, key, "%s", strings.TrimPrefix(err.Error(), "time: "))
		}
		return
	}
	if t.Kind() == reflect.String && n.Tag != "!!str" {
		w.bad(n, key, "want text, have %s; put it in quotes", describe(n))
	} else if err := n.Decode(v.Interface()); err != nil {
		w.bad(n, key, "want %s, have %s", want(t), describe(n))
	}
}

// locate gives what is wrong with the values of c the places of this file. A
// value from another file was told of there.
func (w *walker) locate(c *Config) []Problem {
	var v validator
	v.config(c)
	var ps []Problem
	for _, p := range v.problems {
		if n := w.at[p.Key]; n != nil {
			p.File, p.Line, p.Column = w.file, n.Line, n.Column
			ps = append(ps, p)
		}
	}
	return ps
}

func join(section, key string) string {
	if section == "" {
		return key
	}
	return section + "." + key
}

func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func field(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("yaml") == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		names = append(names, t.Field(i).Tag.Get("yaml"))
	}
	return names
}

// keys lists all keys with their sections.
func keys(t reflect.Type, section string) []string {
	var all []string
	for i := range t.NumField() {
		f := t.Field(i)
		full := join(section, f.Tag.Get("yaml"))
		all = append(all, full)
		if isSection(f.Type) {
			all = append(all, keys(f.Type, full)...)
		}
	}
	return all
}

// suggest finds the key that was meant: one of the same section, or one of the
// same name elsewhere.
func suggest(full, name string, siblings []string, section string) string {
	if c := closest(name, siblings); c != "" {
		return fmt.Sprintf("; did you mean %s?", join(section, c))
	}
	all := keys(reflect.TypeFor[Config](), "")
	for _, k := range all {
		if k[strings.LastIndexByte(k, '.')+1:] == name {
			return fmt.Sprintf("; did you mean %s?", k)
		}
	}
	if c := closest(full, all); c != "" {
		return fmt.Sprintf("; did you mean %s?", c)
	}
	return ""
}

func want(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[Duration]():
		return "a time such as 30s"
	}
	switch t.Kind() {
	case reflect.Int:
		return "a number"
	case reflect.String:
		return "text"
	}
	return "a size such as 20%ORIGIN or 5GiB"
}

// describe names what stands at n, briefly.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	const most = 40
	if v := []rune(n.Value); len(v) > most {
		return fmt.Sprintf("%q…", string(v[:most]))
	}
	return fmt.Sprintf("%q", n.Value)
}
