package kernel

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"cowhand/dmcore"
)

// Where udev listens, and where packages put its rules.
var (
	udevSocket = "/run/udev/control"
	udevRules  = []string{"/usr/lib/udev/rules.d", "/lib/udev/rules.d", "/etc/udev/rules.d", "/run/udev/rules.d"}
)

// presence is what is known of udev.
type presence int

const (
	unknown presence = iota
	absent           // or without the rules that tell when they are done
	present
	deaf // did not answer for as long as we are patient
)

// findUdev looks for udev the first time it matters. The caller holds c.mu.
func (c *Control) findUdev() presence {
	if c.udev == unknown {
		c.udev = absent
		if c.cfg.Udev == Auto && c.cfg.Dir == "/dev" && exists(udevSocket) && haveRules() {
			c.udev = present
		}
	}
	return c.udev
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// haveRules looks for the rule that runs `dmsetup udevcomplete`: without it
// nobody counts down. It is called 95-dm-notify.rules wherever it was seen.
func haveRules() bool {
	for _, dir := range udevRules {
		if found, _ := filepath.Glob(filepath.Join(dir, "*-dm-notify.rules")); len(found) > 0 {
			return true
		}
	}
	return false
}

// touch is a name that a command has made, removed or given to another device.
type touch struct {
	name   string // as the kernel has it
	uuid   dmcore.UUID
	dev    dmcore.DevNo
	hidden bool // no link in /dev/VG
}

// batch is what happened since the last Settle.
type batch struct {
	cookie  *cookie // of the events that udev has to work on, or nil
	touched map[string]touch
}

func newBatch() *batch { return &batch{touched: map[string]touch{}} }

// note keeps the last of what happened to each name.
func (b *batch) note(touched []touch) {
	for _, t := range touched {
		b.touched[t.name] = t
	}
}

// sight is what a command must know of a device before it sends an event.
type sight struct {
	name   string
	info   dmcore.Info
	target string // type of the first
}

// see looks at a device, and into its inactive table if there is one and it is
// the one that counts.
func (c *Control) see(q call, next bool) (*sight, error) {
	ask := func(flags uint32) (*sight, error) {
		d := q.as(unix.DM_TABLE_STATUS, flagStatusTable|flagNoFlush|flagSecureData|flags)
		d.answers = true
		a, err := c.ask(d)
		if err != nil {
			return nil, err
		}
		s := &sight{info: a.info()}
		s.name, _ = text(a.head.Name[:])
		lines, err := a.segments()
		if len(lines) > 0 {
			s.target = lines[0].Type
		}
		clear(a.data)
		return s, err
	}
	if next {
		if s, err := ask(flagQueryInactive); err != nil || s.info.Inactive || !s.info.Live {
			return s, err
		}
	}
	return ask(0)
}

func (s *sight) flags() uint16 { return udevFlags(s.info.Name, s.info.UUID, s.target, s.info.ReadOnly) }

func (s *sight) touch() touch {
	return touch{name: s.name, uuid: s.info.UUID, dev: s.info.Dev, hidden: s.flags()&noSubsystem != 0}
}

// send carries out a command that sends an event, and notes what it touches.
func (c *Control) send(flags uint16, touched []touch, do func(event uint32) (*answer, error)) (*answer, error) {
	c.mu.Lock()
	if c.cfg.Udev == Off {
		flags |= noNode | noSubsystem
	}
	event := uint32(flags) << 16
	var counted *cookie
	if c.findUdev() == present {
		counted = c.batch.count()
		event |= counted.base()
	}
	c.mu.Unlock()
	a, err := do(event)
	if err != nil || a.head.Flags&flagUevent == 0 {
		counted.down() // no event: nobody else does
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.batch.note(touched)
	return a, err
}

// count announces an event to the batch's semaphore. Where there is none to be
// had, because the host has too many, the event goes without, and Settle does
// not wait for it: no device stays suspended for want of a semaphore.
func (b *batch) count() *cookie {
	if b.cookie == nil {
		b.cookie = newCookie()
	}
	if !b.cookie.up() {
		return nil
	}
	return b.cookie
}
