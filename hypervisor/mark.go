package hypervisor

import "github.com/beevik/etree"

// MarkNamespace is the XML namespace of cowhand's element in <metadata>.
// libvirt keeps one element of a namespace there, and may rename its prefix.
const MarkNamespace = "urn:cowhand:guest:1"

// Mark says in a guest's definition what cowhand made it for:
//
//	<metadata>
//	  <cowhand:guest xmlns:cowhand="urn:cowhand:guest:1" set="web1-1" role="trial" of="web1"/>
//	</metadata>
type Mark struct {
	Set  string // the set of snapshots the guest runs on
	Role string // trial, clone
	Of   string // the guest it was made from
}

// ReadMark returns the mark of a guest; ok is false where it has none.
func ReadMark(xml string) (m Mark, ok bool, err error) {
	d, err := parse(xml)
	if err != nil {
		return Mark{}, false, err
	}
	e := markElement(d.root())
	if e == nil {
		return Mark{}, false, nil
	}
	return Mark{Set: attr(e, "set"), Role: attr(e, "role"), Of: attr(e, "of")}, true, nil
}

func markElement(root *etree.Element) *etree.Element {
	metadata := child(root, "metadata")
	if metadata == nil {
		return nil
	}
	for e := range metadata.ChildElementsSeq() {
		if e.Tag == "guest" && e.NamespaceURI() == MarkNamespace {
			return e
		}
	}
	return nil
}

// mark writes the mark, or removes it.
func (r Rewrite) mark(root *etree.Element) {
	if r.Mark == nil {
		return
	}
	metadata := child(root, "metadata")
	if old := markElement(root); old != nil {
		remove(old)
	}
	if *r.Mark == (Mark{}) {
		return
	}
	if metadata == nil {
		metadata = etree.NewElement("metadata")
		at := elementIndex(child(root, "name")) + 1
		if u := child(root, "uuid"); u != nil {
			at = elementIndex(u) + 1
		}
		insert(root, metadata, at)
	}
	e := appendTo(metadata, "cowhand:guest")
	e.CreateAttr("xmlns:cowhand", MarkNamespace)
	for _, a := range []struct{ key, value string }{{"set", r.Mark.Set}, {"role", r.Mark.Role}, {"of", r.Mark.Of}} {
		if a.value != "" {
			e.CreateAttr(a.key, a.value)
		}
	}
}
