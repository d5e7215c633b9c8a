package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"cowhand/dmcore/blockdev"
)

// floor is what the disk itself takes for what a first touch waits for, without any program in
// between.
type floor struct {
	lone figure // 4 KiB written and made durable as the engine does it, a second
	flow figure // bytes a second in large writes, durable at the end
}

// measure takes one round's figures in dir, in a file that is written whole before.
func (f *floor) measure(dir string) (err error) {
	path := filepath.Join(dir, "floor.img")
	const size = 128 << 20
	if err := writeFile(path, size, pattern(large)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(path)) }()
	d, err := blockdev.OpenFile(path, false)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := settle(dir); err != nil {
		return err
	}
	block := pattern(large)
	start := time.Now()
	for off := int64(0); off < size; off += large {
		if _, err := d.WriteAt(block, off); err != nil {
			return err
		}
	}
	if err := d.Sync(); err != nil {
		return err
	}
	f.flow = append(f.flow, size/time.Since(start).Seconds())

	// The median of single ones, like that of the rows: some take a hundred times as long.
	var each figure
	for i := range int64(200) {
		off := i * 37 % (size / apart) * apart
		start := time.Now()
		if _, err := d.WriteAt(block[:small], off); err != nil {
			return err
		}
		if err := d.SyncRange(off, small); err != nil {
			return err
		}
		each = append(each, 1/time.Since(start).Seconds())
	}
	f.lone = append(f.lone, each.median())
	return nil
}

func (f *floor) print() {
	lone := f.lone.median()
	fmt.Printf(`
The disk itself, with no program in between: 4 KiB written and made durable in %.2f ms (median of 200 at the beginning
of each round); two of them, one after the other, as a first touch waits for: %.2f k a second; 1M sequential write
with one sync at the end: %.0f MiB.
`, 1000/lone, lone/2/1000, f.flow.median()/(1<<20))
}
