package lvm

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindDevices(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a.img", "b.img", "c.txt"} {
		if err := os.WriteFile(path(name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(path("d.img"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("b.img", path("z.img")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ patterns, want []string }{
		{nil, nil},
		{[]string{"*.img"}, []string{"a.img", "b.img"}},
		{[]string{"z.img", "*.img"}, []string{"z.img", "a.img"}},
		{[]string{"a.img", "b.img", "z.img", "a.img"}, []string{"a.img", "b.img"}},
		{[]string{"gone", "*.gone", "c.*"}, []string{"gone", "c.txt"}},
	} {
		var patterns, want []string
		for _, p := range test.patterns {
			patterns = append(patterns, path(p))
		}
		for _, w := range test.want {
			want = append(want, path(w))
		}
		got, err := FindDevices(patterns)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v: %v (-want +got):\n%s", test.patterns, err, diff)
		}
	}
	if _, err := FindDevices([]string{"["}); err == nil {
		t.Error("a broken pattern was taken")
	}
}
