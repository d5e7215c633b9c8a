package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// row is one line of the table of disks.
type row struct {
	name    string
	load    load
	figures [3]figure // cowhand, qemu-nbd, nbdkit
}

// The three kinds of disk, and what stands for the peers' in their place.
const (
	kindPlain = iota
	kindOrigin
	kindSnapshot
	kinds
)

var headings = [kinds]string{
	"(a) a linear volume; the peers: a raw file",
	"(b) an origin with one snapshot; the peers: an overlay, qcow2 and --filter=cow",
	"(c) a snapshot; the peers: the same overlay as in (b), measured once",
}

// part is rows that follow one another on one disk, from a new snapshot on.
type part struct {
	kind int
	rows []*row
}

// parts lists the rows. Every round has the same places.
func parts(size int64) []part {
	r := rand.New(rand.NewPCG(1, 2))
	some := func(n int) load { return load{block: small, depth: maxDepth, at: anywhere(r, size, n)} }
	order := func(n int) load { return load{block: large, depth: 8, at: inOrder(0, n)} }
	writing := func(l load) load { l.write = true; return l }
	lone := func(l load) load { l.depth = 1; return l }
	touches := scattered(r, size, 4096)
	touch := load{write: true, block: small, depth: maxDepth, at: touches}
	again := load{write: true, block: small, depth: maxDepth, at: shuffled(r, touches)}
	read := load{block: small, depth: maxDepth, at: repeated(r, touches, 30000)}
	first := scattered(r, size, 256)

	out := []part{{kindPlain, []*row{
		{name: "4K random read", load: some(40000)},
		{name: "4K random read, depth 1", load: lone(some(8000))},
		{name: "4K random write", load: writing(some(4096))},
		{name: "4K random write, depth 1", load: writing(lone(some(2000)))},
		{name: "1M sequential read", load: order(512)},
		{name: "1M sequential write", load: writing(order(128))},
	}}}
	for _, kind := range []int{kindOrigin, kindSnapshot} {
		out = append(out,
			part{kind, []*row{
				{name: "4K random read, untouched", load: some(40000)},
				{name: "4K random read, untouched, depth 1", load: lone(some(8000))},
				{name: "4K random write, first touch", load: touch},
				{name: "4K random write, touched before", load: again},
				{name: "4K random read, touched", load: read},
			}},
			part{kind, []*row{
				{name: "4K random write, first touch, depth 1", load: load{write: true, block: small, depth: 1, at: first}},
			}},
			part{kind, []*row{
				{name: "1M sequential read, untouched", load: order(512)},
				{name: "1M sequential write, first touch", load: writing(order(128))},
				{name: "1M sequential write, touched before", load: writing(order(128))},
				{name: "1M sequential read, touched", load: order(128)},
			}})
	}
	return out
}

// disks measures and prints the rows over NBD.
func disks(ctx context.Context, o options, dir string) (err error) {
	names := []string{"cowhand", "qemu-nbd", "nbdkit"}
	for _, name := range names {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	file := filepath.Join(dir, "raw.img")
	if err := writeFile(file, o.size, pattern(large)); err != nil {
		return err
	}
	ours, err := newCowhand(ctx, filepath.Join(dir, "cowhand"), o.program, o.size)
	servers := [3]server{ours}
	defer func() {
		for _, s := range servers {
			if s != nil {
				err = errors.Join(err, s.stop())
			}
		}
	}()
	if err != nil {
		return err
	}
	for i, make := range []func(dir, file string) *process{newQEMU, newNBDKit} {
		if _, err := exec.LookPath(names[i+1]); err == nil {
			servers[i+1] = make(filepath.Join(dir, names[i+1]), file)
		}
	}
	if err := fill(ctx, ours, o.size); err != nil {
		return err
	}
	all := parts(o.size)
	for range o.rounds {
		for i, p := range all {
			for who, s := range servers {
				// What an overlay costs the peers was measured with the origin.
				if s == nil || who > 0 && p.kind == kindSnapshot {
					continue
				}
				if err := measure(ctx, dir, s, p, who); err != nil {
					return fmt.Errorf("%s: part %d: %w", names[who], i, err)
				}
			}
		}
	}
	share(all)
	return printDisks(all)
}

// measure goes through the rows of a part once.
func measure(ctx context.Context, dir string, s server, p part, who int) error {
	var at place
	var err error
	if p.kind == kindPlain {
		at, err = s.plain(ctx)
	} else {
		at, err = s.fresh(ctx, p.kind == kindOrigin)
	}
	if err != nil {
		return err
	}
	dialing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := dial(dialing, at.socket, at.export)
	if err != nil {
		return err
	}
	interrupted := context.AfterFunc(ctx, func() { c.nc.Close() })
	defer interrupted()
	for _, r := range p.rows {
		err := settle(dir)
		start := time.Now()
		if err == nil {
			err = c.run(r.load)
		}
		if err == nil && r.load.write && at.durable != nil {
			err = at.durable()
		}
		d := time.Since(start)
		if err != nil {
			return errors.Join(fmt.Errorf("%s: %w", r.name, err), c.close())
		}
		r.figures[who] = append(r.figures[who], r.load.speed(d))
	}
	return c.close()
}

// fill writes the origin whole, so that it holds what the peers' file holds.
func fill(ctx context.Context, s server, size int64) error {
	at, err := s.plain(ctx)
	if err != nil {
		return err
	}
	c, err := dial(ctx, at.socket, at.export)
	if err != nil {
		return err
	}
	err = c.run(load{write: true, block: large, depth: 8, at: inOrder(0, int(size/large))})
	return errors.Join(err, c.close())
}

// share gives the rows of snapshots the peers' figures of the same rows of origins.
func share(all []part) {
	var origins []*row
	for _, p := range all {
		switch p.kind {
		case kindOrigin:
			origins = append(origins, p.rows...)
		case kindSnapshot:
			for _, r := range p.rows {
				copy(r.figures[1:], origins[0].figures[1:])
				origins = origins[1:]
			}
		}
	}
}

func printDisks(all []part) error {
	for kind := range kinds {
		fmt.Printf("\nDisks over NBD: %s\n\n", headings[kind])
		t := newPage("row", "cowhand", "qemu-nbd", "nbdkit", "ratio")
		for _, p := range all {
			if p.kind != kind {
				continue
			}
			for _, r := range p.rows {
				t.row(r.name, r.say(0), r.say(1), r.say(2), ratio(r.figures[0], r.figures[1:]...))
			}
		}
		if err := t.print(); err != nil {
			return err
		}
	}
	fmt.Print(`
4K rows in thousands a second, 32 in flight unless said otherwise; 1M rows in MiB a second, 8 in flight. Write rows
last until the flush at their end is answered; nbdkit's overlay, whose flush does nothing, is synced from outside
instead. First-touch rows copy on write: cowhand 4 KiB chunks, the peers 64 KiB.
`)
	return nil
}

// say prints the figure of one server.
func (r *row) say(who int) string {
	m := r.figures[who].median()
	switch {
	case m == 0:
		return "-"
	case r.load.block == small:
		return fmt.Sprintf("%.2f k", m/small/1000)
	}
	return fmt.Sprintf("%.0f MiB", m/(1<<20))
}
