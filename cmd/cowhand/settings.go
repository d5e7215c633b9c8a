package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"cowhand/configs"
)

// settings are what flags, environment and files say, in this order.
type settings struct {
	configs.Config
	configFile string // --config; "": the usual ones
	lockDir    string
	lvm2       *lvm2 // nil: not read yet
	lvm2Copies bool  // copies of metadata go where lvm2 keeps them
	output     string
	fields     []string
	sort       string
	quiet      bool
	verbose    bool
}

// configure reads the settings before any command runs.
func (h *host) configure(c *cli.Context) error {
	files, err := configs.Files()
	h.settings = settings{output: c.String("output"), sort: c.String("sort"), quiet: c.Bool("q"), verbose: c.Bool("verbose")}
	if f := c.String("config"); f != "" {
		if h.configFile, err = filepath.Abs(f); err != nil {
			return err
		}
		files, err = []string{f}, nil
	}
	if err != nil {
		return err
	}
	if h.Config, err = configs.Load(files...); err != nil {
		return usagef("%s", err)
	}
	if f := c.String("fields"); f != "" {
		h.fields = strings.Split(f, ",")
	}
	switch h.output {
	case "table", "json", "yaml", "csv", "name":
	default:
		return usagef("--output %q: want table, json, yaml, csv or name", h.output)
	}
	for flag, to := range map[string]*string{"connect": &h.Libvirt.URI, "engine": &h.Engine, "state-dir": &h.StateDir,
		"run-dir": &h.RunDir, "lvm-dir": &h.Archive.Dir, "lock-dir": &h.lockDir} {
		if c.IsSet(flag) {
			*to = c.String(flag)
		}
	}
	if c.IsSet("devices") {
		h.Devices = c.StringSlice("devices")
	}
	if h.Devices, err = absolute(h.Devices); err != nil {
		return err
	}
	h.defaults()
	if err := h.Config.Validate(); err != nil {
		return usagef("%s", err)
	}
	return nil
}

// defaults are the system's directories for root and the user's own for
// others. Locks are lvm2's, and copies of metadata go where lvm2 keeps them,
// unless cowhand was told to keep what is its own elsewhere.
func (h *host) defaults() {
	state, run := defaultDirs()
	root := os.Geteuid() == 0
	if root {
		h.lvm2 = loadLVM2()
	}
	h.lvm2Copies = h.Archive.Dir == "" && root && h.StateDir == ""
	if h.StateDir == "" {
		h.StateDir = state
	}
	if h.RunDir == "" {
		h.RunDir = run
	}
	if h.Archive.Dir == "" && !h.lvm2Copies {
		h.Archive.Dir = filepath.Join(h.StateDir, "lvm")
	}
	if h.lockDir == "" && root {
		h.lockDir = h.lvm2.Global.LockingDir
	} else if h.lockDir == "" {
		h.lockDir = filepath.Join(h.RunDir, "lock")
	}
}

func defaultDirs() (state, run string) {
	if os.Geteuid() == 0 {
		return "/var/lib/cowhand", "/run/cowhand"
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir()
	}
	state = filepath.Join(home, ".local", "state", "cowhand")
	if d := os.Getenv("XDG_STATE_HOME"); d != "" {
		state = filepath.Join(d, "cowhand")
	}
	run = filepath.Join(os.TempDir(), fmt.Sprintf("cowhand-%d", os.Geteuid()))
	if d := os.Getenv("XDG_RUNTIME_DIR"); d != "" {
		run = filepath.Join(d, "cowhand")
	}
	return state, run
}

// devDir is where device nodes are, as lvm2's tools are told.
func (h *host) devDir() string { return cmp.Or(os.Getenv("DM_DEV_DIR"), "/dev") }

// absolute makes paths independent of the working directory: the daemon lives
// elsewhere.
func absolute(paths []string) ([]string, error) {
	abs := make([]string, len(paths))
	for i, p := range paths {
		var err error
		if abs[i], err = filepath.Abs(p); err != nil {
			return nil, err
		}
	}
	return abs, nil
}
