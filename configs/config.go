// Package configs holds the settings: their types, their defaults, and a strict
// reader of their file that reports all it finds wrong at once.
//
//	Default ◀── system file ◀── user file   (Load)
//	   or   ◀── --config file
//	        ◀── COWHAND_* variables ◀── flags   (the command sets fields, then Validate)
//
// Later ones win, key by key; a list replaces a list. The shipped file
// cowhand.yaml explains every key and equals the defaults.
package configs

import (
	_ "embed"
	"time"

	"cowhand/dmcore"
	"cowhand/lvm"
)

//go:embed cowhand.yaml
var defaultFile []byte

// DefaultFile returns the annotated file that equals [Default].
func DefaultFile() []byte { return append([]byte(nil), defaultFile...) }

// Config is all settings. What each means and its units stand in cowhand.yaml.
type Config struct {
	Engine   string   `yaml:"engine"` // EngineAuto, EngineKernel or EngineUserspace
	Devices  []string `yaml:"devices"`
	StateDir string   `yaml:"state_dir"` // "": by user
	RunDir   string   `yaml:"run_dir"`   // "": by user
	Libvirt  Libvirt  `yaml:"libvirt"`
	Snapshot Snapshot `yaml:"snapshot"`
	Merge    Merge    `yaml:"merge"`
	Monitor  Monitor  `yaml:"monitor"`
	Archive  Archive  `yaml:"archive"`
}

// The engines.
const (
	EngineAuto      = "auto"
	EngineKernel    = "kernel"
	EngineUserspace = "userspace"
)

// Libvirt says how guests are reached.
type Libvirt struct {
	URI             string   `yaml:"uri"`
	QEMUUsers       []string `yaml:"qemu_users"`
	ShutdownTimeout Duration `yaml:"shutdown_timeout"`
}

// Snapshot says how snapshots are made.
type Snapshot struct {
	Size  lvm.Size `yaml:"size"`
	Chunk lvm.Size `yaml:"chunk"`
}

// ChunkSectors is Chunk as tables count it.
func (s Snapshot) ChunkSectors() dmcore.Sectors {
	return dmcore.Sectors(s.Chunk.Bytes / dmcore.SectorSize)
}

// Merge says how merges are followed.
type Merge struct {
	Interval Duration `yaml:"interval"`
}

// Monitor says what `cowhand monitor` looks after.
type Monitor struct {
	Interval  Duration `yaml:"interval"`
	Threshold int      `yaml:"threshold"` // percent; 100: never
	Extend    int      `yaml:"extend"`    // percent
	Pause     string   `yaml:"pause"`     // PauseNone…
	PauseAt   int      `yaml:"pause_at"`  // percent; 100: never
}

// Whose guests are paused; the words are the orchestrator's.
const (
	PauseNone   = "none"
	PauseTrials = "trials"
	PauseSets   = "sets"
	PauseAll    = "all"
)

// Archive says where copies of metadata are kept and how many.
type Archive struct {
	Dir        string `yaml:"dir"` // "": by user
	RetainMin  int    `yaml:"retain_min"`
	RetainDays int    `yaml:"retain_days"`
}

// Duration is a time.Duration that is written with its unit, "1h30m".
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes the duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// Default returns the settings of someone who set nothing.
func Default() Config {
	return Config{
		Engine:  EngineAuto,
		Devices: []string{},
		Libvirt: Libvirt{
			URI:             "qemu:///system",
			QEMUUsers:       []string{"libvirt-qemu", "qemu"},
			ShutdownTimeout: Duration(3 * time.Minute),
		},
		Snapshot: Snapshot{
			Size:  lvm.Size{Percent: 20, Of: lvm.OfOrigin},
			Chunk: lvm.Size{Bytes: 4 << 10},
		},
		Merge:   Merge{Interval: Duration(2 * time.Second)},
		Monitor: Monitor{Interval: Duration(10 * time.Second), Threshold: 70, Extend: 20, Pause: PauseTrials, PauseAt: 95},
		Archive: Archive{RetainMin: 10, RetainDays: 30},
	}
}
