package lvmconf

import (
	"errors"
	"slices"
	"strings"

	"cowhand/lvm/lvmtext"
)

// Of returns the tags of the host of that name, in order (lvm2 2.03.16,
// lib/commands/toolcontext.c, _init_tags).
func (t *Tags) Of(hostname string) []string {
	var tags []string
	if t.HostTags {
		tags = append(tags, hostname)
	}
	for tag, hosts := range t.Hosts {
		if hosts == nil || slices.Contains(hosts, hostname) {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return slices.Compact(tags)
}

// setter takes what stands in a section of one tag: "tags/TAG/host_list", or
// anything else that makes it a tag of all hosts.
func (t *Tags) setter(path string) setter {
	return func(v lvmtext.Value) error {
		tag, key, isSection := strings.Cut(strings.TrimPrefix(path, "tags/"), "/")
		tag = strings.TrimPrefix(tag, "@")
		if !isSection && v != (lvmtext.Value{}) {
			return errors.New("is not known")
		}
		if t.Hosts == nil {
			t.Hosts = map[string][]string{}
		}
		if key != "host_list" {
			if _, known := t.Hosts[tag]; !known {
				t.Hosts[tag] = nil
			}
			return nil
		}
		var hosts []string
		if err := list(&hosts, mayBeEmpty)(v); err != nil {
			t.Hosts[tag] = []string{} // lvm2 stops here; no host has it
			return err
		}
		t.Hosts[tag] = hosts
		return nil
	}
}
