package lvmtext_test

import (
	"fmt"
	"testing"

	"cowhand/lvm/lvmtext"
)

// large is a VG of 3,000 LVs, about a megabyte.
func large(b *testing.B) []byte {
	root := parse(b, string(read(b, "two-lvs.raw")))
	lvs := root.Section("vgx").Section("logical_volumes")
	for i := range 3000 {
		rebuild(lvs.Add(fmt.Sprintf("lv%d", i)), lvs.Section("a"))
	}
	return root.Bytes()
}

func BenchmarkParse(b *testing.B) {
	text := large(b)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := lvmtext.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEditAndPrint(b *testing.B) {
	text := large(b)
	root := parse(b, string(text))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		root.Section("vgx").Section("logical_volumes").Section("lv1500").Set("n", lvmtext.Int(int64(i)))
		root.Bytes()
	}
}

func BenchmarkClone(b *testing.B) {
	root := parse(b, string(large(b)))
	b.ReportAllocs()
	for b.Loop() {
		root.Clone()
	}
}

func BenchmarkReflow(b *testing.B) {
	root := parse(b, string(large(b)))
	for b.Loop() {
		lvmtext.Reflow(root, true)
	}
}
