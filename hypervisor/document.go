package hypervisor

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/beevik/etree"
)

// maxDepth and maxSize bound what a definition may cost to read. libvirt's own
// definitions nest less than 20 deep, save for chains of backing images.
const (
	maxDepth = 256
	maxSize  = 16 << 20
)

// document is an XML text beside its tree. A token of the tree that nobody
// changed is written as the bytes it was read from, so quoting, entities,
// white space and line ends of what is not edited stay as they were. etree
// alone cannot do that: it has one kind of quote for a whole document, and
// libvirt writes two (its own single, libxml2's double inside <metadata>).
type document struct {
	tree *etree.Document
	text string
	from map[etree.Token]origin
}

// origin is where a token came from and what it said then.
type origin struct {
	start, end span         // of an element: the start and the end tag; else end is empty
	tag        string       // full name, of an element
	attrs      []etree.Attr // of an element
	data       string       // of character data
}

type span struct{ from, to int64 }

func (d *document) bytes(s span) string { return d.text[s.from:s.to] }

// parse reads one domain definition. It refuses document types (libvirt writes
// none, and entities come with them), encodings other than UTF-8, and elements
// that do not nest.
func parse(text string) (*document, error) {
	if len(text) > maxSize {
		return nil, fmt.Errorf("%w: %d bytes of XML, more than %d", ErrInvalid, len(text), maxSize)
	}
	d := &document{tree: etree.NewDocument(), text: text, from: map[etree.Token]origin{}}
	dec := xml.NewDecoder(strings.NewReader(text))
	open := []*etree.Element{&d.tree.Element}
	for {
		at := dec.InputOffset()
		tok, err := dec.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		here, top := span{at, dec.InputOffset()}, open[len(open)-1]
		switch t := tok.(type) {
		case xml.StartElement:
			if len(open) > maxDepth {
				return nil, fmt.Errorf("%w: elements nest deeper than %d", ErrInvalid, maxDepth)
			}
			e, err := element(t)
			if err != nil {
				return nil, err
			}
			top.AddChild(e)
			d.from[e] = origin{start: here, tag: e.FullTag(), attrs: slices.Clone(e.Attr)}
			open = append(open, e)
		case xml.EndElement:
			if len(open) == 1 || top.Space != t.Name.Space || top.Tag != t.Name.Local {
				return nil, fmt.Errorf("%w: </%s> closes nothing", ErrInvalid, fullName(t.Name))
			}
			o := d.from[top]
			o.end = here
			d.from[top] = o
			open = open[:len(open)-1]
		case xml.CharData:
			c := etree.NewText(string(t))
			if len(open) == 1 && !c.IsWhitespace() && strings.TrimSpace(string(t)) != "" {
				return nil, fmt.Errorf("%w: text outside of the root element", ErrInvalid)
			}
			top.AddChild(c)
			d.from[c] = origin{start: here, data: c.Data}
		case xml.Comment:
			c := etree.NewComment(string(t))
			top.AddChild(c)
			d.from[c] = origin{start: here}
		case xml.ProcInst:
			p := etree.NewProcInst(t.Target, string(t.Inst))
			top.AddChild(p)
			d.from[p] = origin{start: here}
		case xml.Directive:
			return nil, fmt.Errorf("%w: document type declarations are refused", ErrInvalid)
		}
	}
	if len(open) != 1 {
		return nil, fmt.Errorf("%w: <%s> is not closed", ErrInvalid, open[len(open)-1].FullTag())
	}
	if roots := d.tree.ChildElements(); len(roots) != 1 || roots[0].FullTag() != "domain" {
		return nil, fmt.Errorf("%w: the root must be one <domain>", ErrInvalid)
	}
	return d, nil
}

func element(t xml.StartElement) (*etree.Element, error) {
	e := etree.NewElement(fullName(t.Name))
	for i, a := range t.Attr {
		if slices.ContainsFunc(t.Attr[:i], func(b xml.Attr) bool { return a.Name == b.Name }) {
			return nil, fmt.Errorf("%w: <%s> has two attributes %s", ErrInvalid, e.FullTag(), fullName(a.Name))
		}
		e.CreateAttr(fullName(a.Name), a.Value)
	}
	return e, nil
}

func fullName(n xml.Name) string {
	if n.Space == "" {
		return n.Local
	}
	return n.Space + ":" + n.Local
}

func (d *document) root() *etree.Element { return d.tree.Root() }

// String is the document with its changes.
func (d *document) String() string {
	var b strings.Builder
	for _, t := range d.tree.Child {
		d.write(&b, t)
	}
	return b.String()
}

func (d *document) write(b *strings.Builder, t etree.Token) {
	o, known := d.from[t]
	switch t := t.(type) {
	case *etree.Element:
		d.writeElement(b, t, o, known)
	case *etree.CharData:
		if known && o.data == t.Data {
			b.WriteString(d.bytes(o.start))
		} else {
			b.WriteString(escape(t.Data, "\n\t"))
		}
	default: // comments and instructions are never made or edited here
		b.WriteString(d.bytes(o.start))
	}
}

func (d *document) writeElement(b *strings.Builder, e *etree.Element, o origin, known bool) {
	same := known && o.tag == e.FullTag() && slices.EqualFunc(o.attrs, e.Attr, sameAttr)
	short := known && o.end.from == o.end.to    // it was <a/>
	hollow := known && o.end.from == o.start.to // <a/> or <a></a>
	closed := len(e.Child) == 0 && !(same && hollow && !short)
	if same && closed == short {
		b.WriteString(d.bytes(o.start))
	} else {
		quote := "'"
		if s := d.bytes(o.start); known && strings.Contains(s, "\"") && !strings.Contains(s, "'") {
			quote = "\""
		}
		b.WriteString("<" + e.FullTag())
		for _, a := range e.Attr {
			b.WriteString(" " + a.FullKey() + "=" + quote + escape(a.Value, "") + quote)
		}
		if closed {
			b.WriteString("/")
		}
		b.WriteString(">")
	}
	for _, c := range e.Child {
		d.write(b, c)
	}
	switch {
	case closed:
	case known && !short && o.tag == e.FullTag():
		b.WriteString(d.bytes(o.end))
	default:
		b.WriteString("</" + e.FullTag() + ">")
	}
}

func sameAttr(a, b etree.Attr) bool {
	return a.Space == b.Space && a.Key == b.Key && a.Value == b.Value
}

// escape writes s so that it means the same in text and between either kind of
// quote; the characters of plain stay as they are (line ends in text).
func escape(s, plain string) string {
	var b strings.Builder
	for _, r := range s {
		if strings.ContainsRune(plain, r) {
			b.WriteRune(r)
			continue
		}
		// A strings.Builder does not fail.
		xml.EscapeText(&b, []byte(string(r)))
	}
	return b.String()
}
