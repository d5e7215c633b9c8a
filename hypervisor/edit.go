package hypervisor

import (
	"strings"

	"github.com/beevik/etree"
)

// The edits of a tree that keep its layout: an element comes and goes with the
// line it stands on.

// attr is the value of an attribute, "" without one.
func attr(e *etree.Element, key string) string { return e.SelectAttrValue(key, "") }

// child returns the first child of that name, nil without one, also of nil.
func child(e *etree.Element, tag string) *etree.Element {
	if e == nil {
		return nil
	}
	for c := range e.ChildElementsSeq() {
		if c.FullTag() == tag {
			return c
		}
	}
	return nil
}

// children returns all children of that name, none of nil.
func children(e *etree.Element, tag string) []*etree.Element {
	var all []*etree.Element
	if e != nil {
		for c := range e.ChildElementsSeq() {
			if c.FullTag() == tag {
				all = append(all, c)
			}
		}
	}
	return all
}

// text is the character data directly inside of e, "" for nil.
func text(e *etree.Element) string {
	var b strings.Builder
	if e != nil {
		for _, t := range e.Child {
			if c, ok := t.(*etree.CharData); ok {
				b.WriteString(c.Data)
			}
		}
	}
	return strings.TrimSpace(b.String())
}

// setText replaces all that is inside of e.
func setText(e *etree.Element, s string) {
	for len(e.Child) > 0 {
		e.RemoveChildAt(0)
	}
	if s != "" {
		e.AddChild(etree.NewText(s))
	}
}

// remove takes e away with the white space before it.
func remove(e *etree.Element) {
	p, i := e.Parent(), e.Index()
	p.RemoveChildAt(i)
	if i > 0 && whitespace(p.Child[i-1]) {
		p.RemoveChildAt(i - 1)
	}
	for _, t := range p.Child {
		if !whitespace(t) {
			return
		}
	}
	setText(p, "")
}

// insert puts e into parent as its child number i of the elements (all: at the
// end), on a line of its own where its siblings have one.
func insert(parent, e *etree.Element, i int) {
	elements := parent.ChildElements()
	switch {
	case len(elements) == 0:
		outer := indentOf(parent)
		parent.AddChild(e)
		if outer != "" {
			parent.InsertChildAt(e.Index(), etree.NewText(outer+"  "))
			parent.AddChild(etree.NewText(outer))
		}
	case i >= len(elements):
		last := elements[len(elements)-1]
		parent.InsertChildAt(last.Index()+1, e)
		if ws := indentOf(last); ws != "" {
			parent.InsertChildAt(e.Index(), etree.NewText(ws))
		}
	default:
		next := elements[i]
		ws := indentOf(next)
		parent.InsertChildAt(next.Index(), e)
		if ws != "" {
			parent.InsertChildAt(next.Index(), etree.NewText(ws))
		}
	}
}

// appendTo makes a new last child.
func appendTo(parent *etree.Element, tag string) *etree.Element {
	e := etree.NewElement(tag)
	insert(parent, e, len(parent.Child))
	return e
}

// indentOf is the line end and the blanks before e, "" where it stands on the
// line of something else.
func indentOf(e *etree.Element) string {
	p, i := e.Parent(), e.Index()
	if p == nil || i == 0 || !whitespace(p.Child[i-1]) {
		return ""
	}
	s := p.Child[i-1].(*etree.CharData).Data
	if at := strings.LastIndexByte(s, '\n'); at >= 0 {
		return s[at:]
	}
	return ""
}

func whitespace(t etree.Token) bool {
	c, ok := t.(*etree.CharData)
	return ok && strings.Trim(c.Data, " \t\r\n") == ""
}
