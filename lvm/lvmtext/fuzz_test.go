package lvmtext_test

import (
	"bytes"
	"slices"
	"testing"

	"cowhand/lvm/lvmtext"
)

func seed(f *testing.F) {
	for _, text := range identity {
		f.Add([]byte(text))
	}
	f.Add(read(f, "two-lvs.raw"))
}

func FuzzParse(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		root, err := lvmtext.Parse(text)
		if err != nil {
			return
		}
		if got := root.Bytes(); !bytes.Equal(got, text) {
			t.Fatalf("read %q, printed %q", text, got)
		}
		for _, file := range []bool{false, true} {
			flowed := lvmtext.Reflow(root, file)
			again, err := lvmtext.Parse(flowed)
			if err != nil {
				t.Fatalf("reflow of %q: %v in %q", text, err, flowed)
			}
			same(t, root, again)
		}
	})
}

// An edited text reads as the edited tree, whatever stood around the edit.
func FuzzEdit(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		root, err := lvmtext.Parse(text)
		if err != nil {
			return
		}
		edit(root)
		again, err := lvmtext.Parse(root.Bytes())
		if err != nil {
			t.Fatalf("edited %q: %v in %q", text, err, root.Bytes())
		}
		same(t, root, again)
	})
}

func edit(s *lvmtext.Section) {
	for i, key := range s.Keys() {
		switch i % 4 {
		case 0:
			s.Set(key, lvmtext.Int(int64(i)))
		case 1:
			s.Delete(key)
		case 2:
			v, _ := s.Get(key)
			s.Delete(key)
			s.Set(key, v)
		}
	}
	for i, sub := range s.Sections() {
		edit(sub)
		switch i % 4 {
		case 0:
			s.AddBefore(sub, "x").Set("y", lvmtext.Float(2))
		case 1:
			s.Delete(sub.Name())
		case 2:
			if s.Section("z") == nil {
				s.Delete("z")
				sub.Rename("z")
			}
		}
	}
	s.Add("w").Add("v")
	s.Set("u", lvmtext.List(lvmtext.String("\\\"{"), lvmtext.Int(1)))
}

func same(t *testing.T, a, b *lvmtext.Section) {
	t.Helper()
	if !slices.Equal(a.Keys(), b.Keys()) {
		t.Fatalf("section %q has keys %q and %q", a.Name(), a.Keys(), b.Keys())
	}
	for _, k := range a.Keys() {
		v, _ := a.Get(k)
		if w, _ := b.Get(k); !v.Equal(w) {
			t.Fatalf("%q = %s and %s", k, v.Raw(), w.Raw())
		}
	}
	as, bs := a.Sections(), b.Sections()
	if len(as) != len(bs) {
		t.Fatalf("section %q has %d and %d sections", a.Name(), len(as), len(bs))
	}
	for i := range as {
		if as[i].Name() != bs[i].Name() {
			t.Fatalf("section %q and %q", as[i].Name(), bs[i].Name())
		}
		same(t, as[i], bs[i])
	}
}
