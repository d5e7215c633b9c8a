package lvmtext

import (
	"slices"
	"strings"
)

// Set gives key a value. A value that is there is replaced and the text around
// it kept, and nothing changes if it reads the same; a new one goes behind the
// last value and before the first subsection. A subsection of that name is
// replaced.
func (s *Section) Set(key string, v Value) {
	it := s.find(key)
	if it != nil && it.sub == nil {
		if old := (Value{it.text[it.val:it.valEnd]}); old.Equal(v) {
			return
		}
		text := v.layout(key, indentation(it.lead()))
		it.text = it.text[:it.val] + text + it.text[it.valEnd:]
		it.valEnd = it.val + int32(len(text))
		s.separate(slices.Index(s.items, it) + 1)
		s.touch()
		return
	}
	if it != nil {
		s.Delete(key)
	}
	at := s.endOfValues()
	previous := ""
	if at > 0 {
		previous = s.items[at-1].name
	}
	indent := s.indent()
	lead := s.newline(at)
	if blankBefore(previous, key) {
		lead += "\n"
	}
	s.insert(at, newValue(lead+indent, key, v.layout(key, indent)))
}

// endOfValues is where a new value goes: in front of the first subsection or, at
// a root that begins with one, behind the last value.
func (s *Section) endOfValues() int {
	isSub := func(it *item) bool { return it.sub != nil }
	at := slices.IndexFunc(s.items, isSub)
	if at < 0 {
		return len(s.items)
	}
	for i := len(s.items) - 1; at == 0 && i > 0; i-- {
		if !isSub(s.items[i]) {
			return i + 1
		}
	}
	return at
}

// newValue makes the item "key = value" on a line of its own.
func newValue(lead, key, value string) *item {
	name := printName(key)
	text := lead + name + " = "
	it := &item{name: key, text: text + value + "\n", key: int32(len(lead)), keyEnd: int32(len(lead) + len(name))}
	it.val = int32(len(text))
	it.valEnd = it.val + int32(len(value))
	return it
}

// Add makes an empty subsection behind the last one (or behind the values), in
// the flavour of what surrounds it. One of that name is returned as it is.
func (s *Section) Add(name string) *Section {
	if sub := s.Section(name); sub != nil {
		return sub
	}
	s.Delete(name)
	at := len(s.items)
	for i, it := range s.items {
		if it.sub != nil {
			at = i + 1
		}
	}
	return s.addAt(at, name)
}

// AddBefore is Add, but in front of sibling, a subsection of s; behind all
// others if sibling is none.
func (s *Section) AddBefore(sibling *Section, name string) *Section {
	if sub := s.Section(name); sub != nil {
		return sub
	}
	s.Delete(name)
	at := slices.IndexFunc(s.items, func(it *item) bool { return it.sub != nil && it.sub == sibling })
	if at < 0 {
		return s.Add(name)
	}
	return s.addAt(at, name)
}

func (s *Section) addAt(at int, name string) *Section {
	indent := s.indent()
	lead := s.newline(at)
	if s.parent != nil && blankBeforeSection(s.depth(), at > 0 && s.items[at-1].sub != nil) {
		lead += "\n"
	}
	sub := &Section{
		parent: s,
		name:   name,
		head:   lead + indent + printName(name) + " {\n",
		tail:   indent + "}\n",
	}
	s.insert(at, &item{name: name, sub: sub})
	return sub
}

// Delete removes the value or subsection of that name with the trivia before
// it and the rest of its line. It reports whether there was one.
func (s *Section) Delete(name string) bool {
	it := s.find(name)
	if it == nil {
		return false
	}
	at := slices.Index(s.items, it)
	s.items = slices.Delete(s.items, at, at+1)
	delete(s.index, name)
	s.separate(at)
	s.touch()
	return true
}

// separate makes sure that the item at that place begins a token of its own:
// "a=x b=2c=3" without b must not become "a=xc=3".
func (s *Section) separate(at int) {
	if at < len(s.items) {
		s.items[at].push(spaceBefore(s.items[at].first(), s.before(at)))
	}
}

// Rename gives the section another name in its place. It panics if its parent
// has an entry of that name.
func (s *Section) Rename(name string) {
	if s.parent == nil || name == s.name {
		return
	}
	if s.parent.find(name) != nil {
		panic("lvmtext: rename to " + name + ", which exists")
	}
	it := s.parent.find(s.name)
	l := lexer{src: s.head}
	l.trivia()
	lead := s.head[:l.pos]
	if _, err := l.name(); err != nil {
		panic("lvmtext: internal error: " + err.Error())
	}
	s.head = lead + printName(name) + s.head[l.pos:]
	if s.parent.index != nil {
		delete(s.parent.index, s.name)
		s.parent.index[name] = it
	}
	it.name, s.name = name, name
	s.touch()
}

func (s *Section) insert(at int, it *item) {
	s.items = slices.Insert(s.items, at, it)
	switch {
	case s.index != nil:
		s.index[it.name] = it
	case len(s.items) > indexFrom:
		s.index = make(map[string]*item, len(s.items))
		for _, it := range s.items {
			s.index[it.name] = it
		}
	}
	s.touch()
}

// touch says that s and all above it must be printed from their parts.
func (s *Section) touch() {
	for ; s != nil && s.clean; s = s.parent {
		s.clean, s.text = false, ""
	}
}

// before is the text that the item at that place follows.
func (s *Section) before(at int) string {
	if at == 0 {
		return s.head
	}
	if it := s.items[at-1]; it.sub == nil {
		return it.text
	}
	return s.items[at-1].sub.tail
}

// newline is what must stand before a new line that begins at that place.
func (s *Section) newline(at int) string {
	if b := s.before(at); b != "" && !strings.HasSuffix(b, "\n") {
		return "\n"
	}
	return ""
}

func (it *item) first() string {
	if it.sub != nil {
		return it.sub.head
	}
	return it.text
}

// push puts space before the item.
func (it *item) push(space string) {
	if space == "" {
		return
	}
	if it.sub != nil {
		it.sub.head = space + it.sub.head
		it.sub.touch()
		return
	}
	n := int32(len(space))
	it.text = space + it.text
	it.key, it.keyEnd, it.val, it.valEnd = it.key+n, it.keyEnd+n, it.val+n, it.valEnd+n
}

// spaceBefore is the space text needs to be no part of what stands before it.
func spaceBefore(text, before string) string {
	if text == "" || before == "" || blank(text[0]) || strings.ContainsRune("#={}", rune(text[0])) {
		return ""
	}
	if last := before[len(before)-1]; blank(last) || last == '{' || last == '}' {
		return ""
	}
	return "\n"
}

// printName writes a name so that it reads back.
func printName(name string) string {
	l := lexer{src: name}
	if got, err := l.name(); err == nil && got == name && l.pos == len(name) && !blank(name[0]) && name[0] != '#' && name[0] != '}' {
		return name
	}
	return quote(name)
}
