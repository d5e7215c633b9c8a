package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"cowhand/test/lab"
)

// What the guest's /version holds in the course of the show.
const (
	v1        = "1.0"
	badPatch  = "1.1-broken"
	goodPatch = "2.0"
	slip      = "3.0-by-mistake"
)

func build(ctx context.Context, s *stage) error {
	s.act("A file becomes a volume group",
		"No block device, no device mapper: the physical volume is a file, with LVM's metadata in it.")
	if err := s.open(ctx); err != nil {
		return err
	}
	return s.cowhands(ctx,
		"lvm pvcreate disk.img",
		"lvm vgcreate herd disk.img",
		"lvm lvcreate -L 32M -n web herd",
		"lvm lvs",
	)
}

func install(ctx context.Context, s *stage) error {
	s.act("A guest lives on it",
		"A file system with /version goes onto the volume over NBD; libvirt and QEMU are the real ones.")
	fs := filepath.Join(s.Dir, "fs.img")
	if err := lab.Image(ctx, fs, 32, map[string]string{"version": v1 + "\n"}); err != nil {
		return err
	}
	uri, err := s.Output(ctx, "cowhand", "engine", "uri", "herd/web")
	if err != nil {
		return err
	}
	if err := s.run(ctx, "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", fs, strings.TrimSpace(uri)); err != nil {
		return err
	}
	if err := s.Define(ctx, s.guest("web"), "herd/web"); err != nil {
		return err
	}
	if err := s.cowhands(ctx, "guests"); err != nil {
		return err
	}
	if err := s.run(ctx, "virsh", "--quiet", "start", s.guest("web")); err != nil {
		return err
	}
	return s.guestSays(ctx, "web", v1)
}

func discard(ctx context.Context, s *stage) error {
	s.act("Try a patch, and discard it",
		"cowhand shuts the guest down, cuts a snapshot, and starts a trial of the guest on the snapshot.")
	if err := s.cowhands(ctx, "try "+s.guest("web")+" --set try"); err != nil {
		return err
	}
	if err := s.patch(ctx, "web-try", badPatch); err != nil {
		return err
	}
	if err := s.onInstance(ctx, "web-try", badPatch); err != nil {
		return err
	}
	if err := s.onVolume(ctx, "web", v1, "while the trial runs"); err != nil {
		return err
	}
	if err := s.cowhands(ctx, "discard "+s.guest("web")+" -y"); err != nil {
		return err
	}
	if err := s.onVolume(ctx, "web", v1, "the patch is gone"); err != nil {
		return err
	}
	return s.guestSays(ctx, "web", v1)
}

func keep(ctx context.Context, s *stage) error {
	s.act("Try a better patch, and keep it",
		"The trial's blocks are merged into the original, which runs on at once.")
	if err := s.cowhands(ctx, "try "+s.guest("web")+" --set try"); err != nil {
		return err
	}
	if err := s.patch(ctx, "web-try", goodPatch); err != nil {
		return err
	}
	if err := s.onVolume(ctx, "web", v1, "before it is kept"); err != nil {
		return err
	}
	if err := s.cowhands(ctx, "keep "+s.guest("web")+" -y"); err != nil {
		return err
	}
	if err := s.guestSays(ctx, "web", goodPatch); err != nil {
		return err
	}
	if err := s.merged(ctx); err != nil {
		return err
	}
	return s.onVolume(ctx, "web", goodPatch, "the patch was kept")
}

func rollback(ctx context.Context, s *stage) error {
	s.act("A snapshot, a mistake, and back",
		"This time the guest itself is changed, with a snapshot to go back to.")
	if err := s.cowhands(ctx, "snapshot "+s.guest("web")+" --set before"); err != nil {
		return err
	}
	if err := s.patch(ctx, "web", slip); err != nil {
		return err
	}
	if err := s.onVolume(ctx, "web", slip, "the mistake is on the volume"); err != nil {
		return err
	}
	if err := s.cowhands(ctx, "ls", "rollback "+s.guest("web")+" before -y"); err != nil {
		return err
	}
	if err := s.guestSays(ctx, "web", goodPatch); err != nil {
		return err
	}
	if err := s.merged(ctx); err != nil {
		return err
	}
	return s.onVolume(ctx, "web", goodPatch, "as before the mistake")
}

func clone(ctx context.Context, s *stage) error {
	s.act("Three instances of one image",
		"All snapshots are one metadata commit; each instance has its own name, UUID and network address.")
	if err := s.shutdown(ctx, "web"); err != nil {
		return err
	}
	const count = 3
	name := func(n int) string { return fmt.Sprintf("web%02d", n) }
	if err := s.cowhands(ctx, fmt.Sprintf("clone %s --count %d --name '%s'", s.guest("web"), count, s.guest("web%02d"))); err != nil {
		return err
	}
	if err := s.ownIdentities(ctx, "web", name(1), name(2), name(3)); err != nil {
		return err
	}
	for n := 1; n <= count; n++ {
		if err := s.patch(ctx, name(n), "instance-"+name(n)); err != nil {
			return err
		}
	}
	for n := 1; n <= count; n++ {
		if err := s.onInstance(ctx, name(n), "instance-"+name(n)); err != nil {
			return err
		}
	}
	if err := s.onVolume(ctx, "web", goodPatch, "the image is as it was"); err != nil {
		return err
	}
	return s.cowhands(ctx, "ls", "lvm lvs")
}

func audit(ctx context.Context, s *stage) error {
	s.act("What lvm2 says", "All of that was done to a volume group that is also lvm2's.")
	seqno, err := lab.Audit(ctx, s.PV)
	if err != nil {
		return err
	}
	s.claim(fmt.Sprintf("label, headers and metadata are in order, at generation %d", seqno), "lvm2's pvck")
	return nil
}

// diskSize holds the group; the file is sparse.
const diskSize = 512 << 20

// guestDeadline is how long a guest may take to boot or shut down on a busy machine without KVM.
const guestDeadline = 90 * time.Second
