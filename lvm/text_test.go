package lvm

import (
	"bytes"
	"os"
	"testing"
)

func golden(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/vg-text-seqno12.bin")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func mustParse(t testing.TB, text []byte) *VG {
	t.Helper()
	vg, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return vg
}

func TestUnchangedTextIsIdentical(t *testing.T) {
	text := golden(t)
	vg := mustParse(t, text)
	if err := vg.Validate(); err != nil {
		t.Error(err)
	}
	got, err := vg.Clone().Text(vg.Header())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, text) {
		t.Errorf("got\n%s\nwant\n%s", got, text)
	}
}
