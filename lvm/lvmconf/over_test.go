package lvmconf

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What stands over the files replaces lists, too (seen with lvm2 2.03.16).
func TestLoadOver(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "lvm.conf"), []byte(`devices { filter = "a|one|" } activation { volume_list = ["a"] readahead = "none" }`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(dir, File{"--config", []byte(`devices/filter="r|two|"`)}, File{"--config", []byte(`activation { volume_list = [] }`)})
	if err != nil {
		t.Fatal(err)
	}
	want := Default(dir)
	want.Devices.Filter, want.Activation.VolumeList, want.Activation.Readahead = []string{"r|two|"}, []string{}, "none"
	if diff := cmp.Diff(want, c, sections); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
