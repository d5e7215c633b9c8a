package lvm

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
)

// addTag is a change as an operation does it: locked, read, written, unlocked.
func addTag(ctx context.Context, s *Store, l Locks, name, tag string) error {
	unlock, err := l.VG(ctx, name, true)
	if err != nil {
		return err
	}
	defer unlock()
	vg, err := s.Load(ctx, name)
	if err != nil {
		return err
	}
	if err := vg.AddTags("", tag); err != nil {
		return err
	}
	p, err := s.Prepare(ctx, vg)
	if err != nil {
		return err
	}
	return p.Commit()
}

func TestNoUpdateIsLost(t *testing.T) {
	r := newRig(2)
	r.group(t, "vg0", PVOptions{}, "m0", "m1")
	locks := Locks{Dir: t.TempDir()}
	var wg sync.WaitGroup
	var want []string
	for i := range 30 {
		tag := fmt.Sprintf("t%02d", i)
		want = append(want, tag)
		wg.Go(func() {
			if err := addTag(t.Context(), r.Store, locks, "vg0", tag); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if vg := r.load(t, "vg0"); vg.Seqno != 31 || !slices.Equal(vg.Tags, want) {
		t.Errorf("seqno %d, tags %v", vg.Seqno, vg.Tags)
	}
}

// The same against lvm2, which takes its locks in its own way.
func TestOracleNoUpdateIsLost(t *testing.T) {
	o := oracle(t, 1)
	o.lvm("pvcreate", o.paths[0])
	o.lvm("vgcreate", "shared", o.paths[0])
	var wg sync.WaitGroup
	var want []string
	for i := range 6 {
		ours, theirs := fmt.Sprintf("ours%d", i), fmt.Sprintf("theirs%d", i)
		want = append(want, ours, theirs)
		wg.Go(func() {
			if err := addTag(t.Context(), o.store, o.locks, "shared", ours); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if out, err := o.command(t.Context(), "vgchange", "--addtag", theirs, "shared").CombinedOutput(); err != nil {
				t.Errorf("vgchange: %v: %s", err, out)
			}
		})
	}
	wg.Wait()
	slices.Sort(want)
	vg, err := o.store.Load(t.Context(), "shared")
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(vg.Tags) // lvm2 appends, we sort
	if vg.Seqno != 13 || !slices.Equal(vg.Tags, want) {
		t.Errorf("seqno %d, tags %v", vg.Seqno, vg.Tags)
	}
	o.agree()
}
