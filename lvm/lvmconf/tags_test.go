package lvmconf

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTags(t *testing.T) {
	for _, c := range []struct {
		main, local string
		want        []string
	}{
		{"", "", nil},
		{"tags { hosttags = 1 }", "", []string{"me"}},
		{"tags { hosttags = 1 }", "tags { hosttags = 0 }", nil},
		{"tags { every { } \n other { host_list = [\"you\", \"her\"] } mine { host_list = \"me\" } @at { host_list = [\"me\"] } none { host_list = [] } }",
			"tags/more/host_list = [ \"me\" ]", []string{"at", "every", "mine", "more"}},
		{"tags { odd { some = 1 } both { some = 1 host_list = [\"you\"] } wrong { host_list = [1] } hosttags = 1 me { } }", "", []string{"me", "odd"}},
	} {
		conf := parse(t, c.main, c.local)
		if diff := cmp.Diff(c.want, conf.Tags.Of("me")); diff != "" {
			t.Errorf("%s %s\n(-want +got)\n%s\n%s", c.main, c.local, diff, warnings(conf))
		}
	}
}

// A section where a value should be is none.
func TestSectionForValue(t *testing.T) {
	conf := parse(t, "devices { scan { } pv_min_size { } } global/wait_for_locks { } activation { volume_list { } }")
	if diff := cmp.Diff(Default("/etc/lvm"), conf, sections); diff != "" || len(conf.Warnings) != 4 {
		t.Errorf("%s\n%s", diff, warnings(conf))
	}
}
