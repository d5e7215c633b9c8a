package main

import (
	"context"
	"fmt"
	"strings"

	"cowhand/test/lab"
)

// guest is a guest's name in this libvirt.
func (s *stage) guest(name string) string { return s.prefix + name }

// console gives f the console of a running guest, which it waits for.
func (s *stage) console(ctx context.Context, name string, f func(context.Context, *lab.Console) error) error {
	ctx, cancel := context.WithTimeout(ctx, guestDeadline)
	defer cancel()
	c, err := lab.Attach(ctx, s.URI, s.guest(name))
	if err != nil {
		return err
	}
	defer c.Close()
	return f(ctx, c)
}

// guestSays checks what a guest itself reads on its disk.
func (s *stage) guestSays(ctx context.Context, name, want string) error {
	return s.console(ctx, name, func(ctx context.Context, c *lab.Console) error {
		got, err := c.Do(ctx, "version", "version=")
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("guest %s says version %q, and not %q", s.guest(name), got, want)
		}
		s.claim(fmt.Sprintf("guest %s runs, and says version %s", s.guest(name), want), "its console")
		return nil
	})
}

// patch changes the file from inside a guest.
func (s *stage) patch(ctx context.Context, name, version string) error {
	return s.console(ctx, name, func(ctx context.Context, c *lab.Console) error {
		got, err := c.Do(ctx, "write "+version, "version=")
		if err != nil {
			return err
		}
		if got != version {
			return fmt.Errorf("guest %s was told to write version %q and says %q", s.guest(name), version, got)
		}
		s.say("   %s writes version %s to its disk and syncs", s.guest(name), version)
		return nil
	})
}

// shutdown asks a guest to power off and waits until it is.
func (s *stage) shutdown(ctx context.Context, name string) error {
	return s.console(ctx, name, func(ctx context.Context, c *lab.Console) error {
		if err := s.run(ctx, "virsh", "--quiet", "shutdown", s.guest(name)); err != nil {
			return err
		}
		if err := c.Ended(ctx); err != nil {
			return err
		}
		return s.wait(ctx, "off", func() (bool, error) {
			out, err := s.Output(ctx, "virsh", "domstate", s.guest(name))
			return strings.TrimSpace(out) == "shut off", err
		})
	})
}

// onVolume checks what is on a linear volume, in the file that is its physical volume: cowhand's
// engine has no part in this reading.
func (s *stage) onVolume(ctx context.Context, lv, want, why string) error {
	at, err := lab.Where(ctx, s.PV, lv)
	if err != nil {
		return err
	}
	got, err := lab.ReadFile(ctx, s.PV, at, "version")
	if err != nil {
		return err
	}
	if got != want+"\n" {
		return fmt.Errorf("/version on herd/%s is %q, and not %q (%s)", lv, got, want, why)
	}
	s.claim(fmt.Sprintf("/version on herd/%s is %s: %s", lv, want, why),
		fmt.Sprintf("debugfs, in disk.img at %d MiB", at.Offset>>20))
	return nil
}

// onInstance checks what is on an instance's disk, which is a snapshot and so only the engine can
// put together; the disk is the one its definition in libvirt names.
func (s *stage) onInstance(ctx context.Context, name, want string) error {
	xml, err := s.Output(ctx, "virsh", "dumpxml", s.guest(name))
	if err != nil {
		return err
	}
	uri, err := lab.DiskURI([]byte(xml))
	if err != nil {
		return err
	}
	got, err := lab.ReadFile(ctx, uri, lab.Extent{}, "version")
	if err != nil {
		return err
	}
	if got != want+"\n" {
		return fmt.Errorf("/version on the disk of %s is %q, and not %q", s.guest(name), got, want)
	}
	s.claim(fmt.Sprintf("/version on the disk of %s is %s", s.guest(name), want), "debugfs, on a copy by qemu-img")
	return nil
}

// ownIdentities checks that libvirt knows the guests by UUIDs and network addresses that differ.
func (s *stage) ownIdentities(ctx context.Context, names ...string) error {
	seen := map[string]string{}
	for _, name := range names {
		definition, err := s.Output(ctx, "virsh", "dumpxml", s.guest(name))
		if err != nil {
			return err
		}
		ids, err := lab.Identity([]byte(definition))
		if err != nil {
			return err
		}
		for _, id := range ids {
			if other, twice := seen[id]; twice {
				return fmt.Errorf("%s and %s are both %s", s.guest(other), s.guest(name), id)
			}
			seen[id] = name
		}
	}
	s.claim(fmt.Sprintf("%d guests have %d different UUIDs and network addresses", len(names), len(seen)), "virsh dumpxml")
	return nil
}

// merged waits until the metadata, as lvm2 reads it, holds no snapshot that is being merged.
func (s *stage) merged(ctx context.Context) error {
	return s.wait(ctx, "merged", func() (bool, error) {
		merging, err := lab.Merging(ctx, s.PV)
		return !merging, err
	})
}

// wait asks until it is so.
func (s *stage) wait(ctx context.Context, what string, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, guestDeadline)
	defer cancel()
	if err := lab.Poll(ctx, so); err != nil {
		return fmt.Errorf("waiting until %s: %w", what, err)
	}
	return nil
}
