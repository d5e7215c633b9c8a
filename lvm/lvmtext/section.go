package lvmtext

import (
	"slices"
	"strings"
)

// Section is a named list of values and subsections; the root has no name.
type Section struct {
	parent *Section
	name   string
	text   string // the whole section, while clean
	clean  bool   // not edited, nor anything below
	head   string // lead, name, '{' and the rest of its line
	items  []*item
	tail   string // trivia, '}' and the rest of its line; at the root all that remains
	index  map[string]*item
}

// item is a subsection, or a value with the text around it.
type item struct {
	name        string
	sub         *Section
	text        string
	key, keyEnd int32 // where the key stands in text
	val, valEnd int32
}

// indexFrom is how many items a section has before it gets an index.
const indexFrom = 16

// Name returns the section's name, "" for the root.
func (s *Section) Name() string { return s.name }

// Bytes prints the section with the trivia around it.
func (s *Section) Bytes() []byte { return s.append(make([]byte, 0, s.size())) }

func (s *Section) size() int {
	if s.clean {
		return len(s.text)
	}
	n := len(s.head) + len(s.tail)
	for _, it := range s.items {
		if it.sub != nil {
			n += it.sub.size()
		} else {
			n += len(it.text)
		}
	}
	return n
}

func (s *Section) append(b []byte) []byte {
	if s.clean {
		return append(b, s.text...)
	}
	b = append(b, s.head...)
	for _, it := range s.items {
		if it.sub != nil {
			b = it.sub.append(b)
		} else {
			b = append(b, it.text...)
		}
	}
	return append(b, s.tail...)
}

func (s *Section) find(name string) *item {
	if s.index != nil {
		return s.index[name]
	}
	for _, it := range s.items {
		if it.name == name {
			return it
		}
	}
	return nil
}

// Section returns the subsection of that name, nil if there is none.
func (s *Section) Section(name string) *Section {
	if it := s.find(name); it != nil {
		return it.sub
	}
	return nil
}

// Sections returns the subsections in order.
func (s *Section) Sections() []*Section {
	var subs []*Section
	for _, it := range s.items {
		if it.sub != nil {
			subs = append(subs, it.sub)
		}
	}
	return subs
}

// Keys returns the names of the values in order.
func (s *Section) Keys() []string {
	var keys []string
	for _, it := range s.items {
		if it.sub == nil {
			keys = append(keys, it.name)
		}
	}
	return keys
}

// Get returns the value of a key.
func (s *Section) Get(key string) (Value, bool) {
	it := s.find(key)
	if it == nil || it.sub != nil {
		return Value{}, false
	}
	return Value{it.text[it.val:it.valEnd]}, true
}

// Clone returns a copy of the section and all below it. The copy has no parent.
func (s *Section) Clone() *Section { return s.clone(nil) }

func (s *Section) clone(parent *Section) *Section {
	c := *s
	c.parent = parent
	c.items = make([]*item, len(s.items))
	slab := make([]item, len(s.items))
	if s.index != nil {
		c.index = make(map[string]*item, len(s.items))
	}
	for i, it := range s.items {
		slab[i] = *it
		if it.sub != nil {
			slab[i].sub = it.sub.clone(&c)
		}
		c.items[i] = &slab[i]
		if c.index != nil {
			c.index[it.name] = c.items[i]
		}
	}
	return &c
}

// lead is the trivia before an item, or before a section's name.
func (it *item) lead() string {
	if it.sub != nil {
		return it.sub.lead()
	}
	return it.text[:it.key]
}

func (s *Section) lead() string {
	l := lexer{src: s.head}
	l.trivia()
	return s.head[:l.pos]
}

func indentation(lead string) string { return lead[strings.LastIndexByte(lead, '\n')+1:] }

// indent is what the items of s are indented by: as the first one is or, in an
// empty section, one tab more than its name if that is indented.
func (s *Section) indent() string {
	if len(s.items) > 0 {
		if in := indentation(s.items[0].lead()); strings.TrimLeft(in, " \t") == "" {
			return in
		}
		return ""
	}
	if s.parent == nil {
		return ""
	}
	own := indentation(s.lead())
	if own != "" && strings.TrimLeft(own, " \t") == "" || s.parent.indentsBelow() {
		return own + "\t"
	}
	return ""
}

// depth is how many named sections s is in.
func (s *Section) depth() int {
	n := -1
	for ; s.parent != nil; s = s.parent {
		n++
	}
	return n
}

// indentsBelow reports whether a subsection indents its items.
func (s *Section) indentsBelow() bool {
	return slices.ContainsFunc(s.items, func(it *item) bool {
		return it.sub != nil && len(it.sub.items) > 0 && it.sub.indent() != ""
	})
}
