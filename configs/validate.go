package configs

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"cowhand/lvm"
)

// Validate reports every setting that cannot be used, as an [*Error].
func (c *Config) Validate() error {
	v := validator{}
	v.config(c)
	return asError(v.problems)
}

// validator collects problems by key.
type validator struct{ problems []Problem }

func (v *validator) bad(key, format string, args ...any) {
	v.problems = append(v.problems, Problem{Key: key, Text: fmt.Sprintf(format, args...)})
}

func (v *validator) config(c *Config) {
	v.oneOf("engine", c.Engine, EngineAuto, EngineKernel, EngineUserspace)
	for i, d := range c.Devices {
		v.device(fmt.Sprintf("devices[%d]", i), d)
	}
	v.dir("state_dir", c.StateDir)
	v.dir("run_dir", c.RunDir)
	if c.Libvirt.URI == "" {
		v.bad("libvirt.uri", "is empty; virsh's default is qemu:///system")
	}
	for i, u := range c.Libvirt.QEMUUsers {
		if u == "" || strings.ContainsAny(u, ":/\n ") {
			v.bad(fmt.Sprintf("libvirt.qemu_users[%d]", i), "%q is no user name", u)
		}
	}
	v.between("libvirt.shutdown_timeout", c.Libvirt.ShutdownTimeout, time.Second, 24*time.Hour)
	if s := c.Snapshot.Size; s.IsZero() {
		v.bad("snapshot.size", "is empty; want for example 20%%ORIGIN or 5GiB")
	} else if s.Of == lvm.OfPVs {
		v.bad("snapshot.size", "%s: want a part of ORIGIN, FREE or VG, or a number with a unit", s)
	}
	v.chunk("snapshot.chunk", c.Snapshot.Chunk)
	v.between("merge.interval", c.Merge.Interval, 100*time.Millisecond, time.Hour)
	v.between("monitor.interval", c.Monitor.Interval, time.Second, time.Hour)
	v.percent("monitor.threshold", c.Monitor.Threshold, 50, 100)
	v.percent("monitor.extend", c.Monitor.Extend, 1, 1000)
	v.oneOf("monitor.pause", c.Monitor.Pause, PauseNone, PauseTrials, PauseSets, PauseAll)
	v.percent("monitor.pause_at", c.Monitor.PauseAt, 51, 100)
	v.dir("archive.dir", c.Archive.Dir)
	v.count("archive.retain_min", c.Archive.RetainMin)
	v.count("archive.retain_days", c.Archive.RetainDays)
}

func (v *validator) oneOf(key, value string, known ...string) {
	for _, k := range known {
		if value == k {
			return
		}
	}
	hint := ""
	if c := closest(value, known); c != "" {
		hint = fmt.Sprintf("; did you mean %s?", c)
	}
	v.bad(key, "%q: want one of %s%s", value, strings.Join(known, ", "), hint)
}

func (v *validator) device(key, path string) {
	if !filepath.IsAbs(path) {
		v.bad(key, "%q: want an absolute path or glob", path)
	} else if _, err := filepath.Match(path, "/"); err != nil {
		v.bad(key, "%q: the glob's brackets or backslashes do not match", path)
	}
}

func (v *validator) dir(key, path string) {
	if path != "" && !filepath.IsAbs(path) {
		v.bad(key, "%q: want an absolute path, or \"\" for the default", path)
	}
}

func (v *validator) between(key string, d Duration, least, most time.Duration) {
	if time.Duration(d) < least || time.Duration(d) > most {
		v.bad(key, "%v: want %v to %v", d, least, most)
	}
}

func (v *validator) percent(key string, n, least, most int) {
	if n < least || n > most {
		v.bad(key, "%d: want %d to %d percent", n, least, most)
	}
}

func (v *validator) count(key string, n int) {
	if n < 1 || n > 1<<20 {
		v.bad(key, "%d: want 1 to %d", n, 1<<20)
	}
}

// chunk applies lvm2's limits of snapshot chunks (2.03.16, tools/lvcreate.c).
func (v *validator) chunk(key string, s lvm.Size) {
	if b := s.Bytes; b < 4<<10 || b > 512<<10 || b&(b-1) != 0 {
		v.bad(key, "%s: want a power of two from 4KiB to 512KiB", s)
	}
}
