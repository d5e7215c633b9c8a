package devscan

import (
	"regexp"
	"slices"
	"strings"
)

// Name is one of a device's names.
type Name struct {
	Path string
	Link bool // a symbolic link
}

// order puts a device's names, in the order in which they were found, into
// lvm2's: only the first place matters, and each name found later competes for
// it (lib/device/dev-cache.c, _add_alias).
func order(found []Name, devDir string, preferred []*regexp.Regexp) []string {
	var names []Name
	for _, n := range found {
		if len(names) > 0 && !better(n, names[0], devDir, preferred) {
			names = append(names, n)
		} else {
			names = slices.Insert(names, 0, n)
		}
	}
	paths := make([]string, len(names))
	for i, n := range names {
		paths[i] = n.Path
	}
	return paths
}

// better reports whether a is a better name than b (_compare_paths): one that
// devices/preferred_names has earlier; one that is not in /dev/block, not
// /dev/dm-N, not in /dev/disk, not in /dev/mapper; one with fewer slashes; a
// symbolic link; the first in ASCII.
func better(a, b Name, devDir string, preferred []*regexp.Regexp) bool {
	rank := func(n Name) int {
		i := slices.IndexFunc(preferred, func(re *regexp.Regexp) bool { return matches(re, n.Path) })
		if i < 0 {
			return len(preferred)
		}
		return i
	}
	if ra, rb := rank(a), rank(b); ra != rb {
		return ra < rb
	}
	dir := devDir + "/"
	if strings.HasPrefix(a.Path, dir) && strings.HasPrefix(b.Path, dir) {
		for _, below := range []string{dir + "block/", dir + "dm-", dir + "disk/", dir + "mapper"} {
			in, other := strings.HasPrefix(a.Path, below), strings.HasPrefix(b.Path, below)
			if in != other {
				return other
			}
			if in {
				break
			}
		}
	}
	if sa, sb := strings.Count(a.Path, "/"), strings.Count(b.Path, "/"); sa != sb {
		return sa < sb
	}
	if a.Link != b.Link { // directories that are links are not entered
		return a.Link
	}
	return a.Path < b.Path
}
