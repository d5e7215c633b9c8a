package main

import (
	"context"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// The overlay of nbdkit, whose flush does nothing, is made durable by us.
func TestOverlayOfNBDKitIsMadeDurable(t *testing.T) {
	if _, err := exec.LookPath("nbdkit"); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "raw.img")
	if err := writeFile(file, 4*large, pattern(large)); err != nil {
		t.Fatal(err)
	}
	p := newNBDKit(dir, file)
	defer func() {
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	}()
	at, err := p.fresh(t.Context(), kindOrigin)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := dial(ctx, at.socket, at.export)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.run(load{write: true, block: large, depth: 1, at: inOrder(0, 4)}); err != nil {
		t.Error(err)
	}
	if at.durable == nil {
		t.Error("nobody syncs the overlay")
	} else if err := at.durable(); err != nil {
		t.Error(err)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}
