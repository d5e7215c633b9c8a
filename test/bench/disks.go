package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// row is one line of the table of disks.
type row struct {
	name    string
	load    load
	first   bool          // it makes exceptions
	figures [peers]figure // cowhand, qemu-nbd, nbdkit
	durable figure        // of the peer that promises as much
}

const (
	peers   = 3 // how many are compared, cowhand among them
	durably = "qemu-nbd durable"
)

// The kinds of disk, and what stands for the peers' in their place.
const (
	kindPlain = iota
	kindOrigin
	kindSnapshot
	kindThin
	kinds
)

var headings = [kinds]string{
	"(a) a linear volume; the peers: a raw file",
	"(b) an origin with one snapshot; the peers: an overlay, qcow2 and --filter=cow",
	"(c) a snapshot; the peers: the same overlay as in (b), measured once",
	"(d) a thin volume with one thin snapshot; the peers: again that overlay",
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
	for _, kind := range []int{kindOrigin, kindSnapshot, kindThin} {
		out = append(out,
			part{kind, []*row{
				{name: "4K random read, untouched", load: some(40000)},
				{name: "4K random read, untouched, depth 1", load: lone(some(8000))},
				{name: "4K random write, first touch", first: true, load: touch},
				{name: "4K random write, touched before", load: again},
				{name: "4K random read, touched", load: read},
			}},
			part{kind, []*row{
				{name: "4K random write, first touch, depth 1", first: true, load: writing(lone(load{block: small, at: first}))},
			}},
			part{kind, []*row{
				{name: "1M sequential read, untouched", load: order(512)},
				{name: "1M sequential write, first touch", first: true, load: writing(order(128))},
				{name: "1M sequential write, touched before", load: writing(order(128))},
				{name: "1M sequential read, touched", load: order(128)},
			}})
	}
	return out
}

// disks measures and prints the rows over NBD.
func disks(ctx context.Context, o options, dir string) (err error) {
	names := []string{"cowhand", "qemu-nbd", "nbdkit"}
	for _, name := range append(slices.Clone(names), durably) {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return err
		}
	}
	file := filepath.Join(dir, "raw.img")
	if err := writeFile(file, o.size, pattern(large)); err != nil {
		return err
	}
	ours, err := newCowhand(ctx, filepath.Join(dir, "cowhand"), o.program, o.size)
	servers := [peers]server{ours}
	var durable server
	defer func() {
		for _, s := range append(servers[:], durable) {
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
	if servers[1] != nil {
		durable = newDurableQEMU(filepath.Join(dir, durably), file)
	}
	at, err := ours.plain(ctx)
	if err == nil {
		err = fill(ctx, at, o.size)
	}
	if err != nil {
		return err
	}
	all := parts(o.size)
	var disk floor
	for range o.rounds {
		if err := disk.measure(dir); err != nil {
			return fmt.Errorf("the disk itself: %w", err)
		}
		for i, p := range all {
			for who, s := range servers {
				// What an overlay costs the peers was measured with the origin.
				if s == nil || who > 0 && p.kind > kindOrigin {
					continue
				}
				into := func(r *row) *figure { return &r.figures[who] }
				if err := measure(ctx, dir, s, p, into); err != nil {
					return fmt.Errorf("%s: part %d: %w", names[who], i, err)
				}
			}
			if first := p.firsts(); durable != nil && p.kind == kindOrigin && len(first.rows) > 0 {
				into := func(r *row) *figure { return &r.durable }
				if err := measure(ctx, dir, durable, first, into); err != nil {
					return fmt.Errorf("%s: part %d: %w", durably, i, err)
				}
			}
		}
	}
	share(all)
	if err := printDisks(all); err != nil {
		return err
	}
	disk.print()
	return nil
}

// firsts is the part with none but the rows that make exceptions.
func (p part) firsts() part {
	return part{p.kind, slices.DeleteFunc(slices.Clone(p.rows), func(r *row) bool { return !r.first })}
}

// measure goes through the rows of a part once, and adds to the figure of each that into tells.
func measure(ctx context.Context, dir string, s server, p part, into func(*row) *figure) error {
	var at place
	var err error
	if p.kind == kindPlain {
		at, err = s.plain(ctx)
	} else {
		at, err = s.fresh(ctx, p.kind)
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
		f := into(r)
		*f = append(*f, r.load.speed(d))
	}
	return c.close()
}

// fill writes a volume whole, so that it holds what the peers' file holds.
func fill(ctx context.Context, at place, size int64) error {
	c, err := dial(ctx, at.socket, at.export)
	if err != nil {
		return err
	}
	err = c.run(load{write: true, block: large, depth: 8, at: inOrder(0, int(size/large))})
	return errors.Join(err, c.close())
}

// share gives the rows of snapshots, thick and thin, the peers' figures of the same
// rows of origins.
func share(all []part) {
	var rows [kinds][]*row
	for _, p := range all {
		rows[p.kind] = append(rows[p.kind], p.rows...)
	}
	for _, kind := range []int{kindSnapshot, kindThin} {
		for i, r := range rows[kind] {
			copy(r.figures[1:], rows[kindOrigin][i].figures[1:])
			r.durable = rows[kindOrigin][i].durable
		}
	}
}

func printDisks(all []part) error {
	for kind := range kinds {
		fmt.Printf("\nDisks over NBD: %s\n\n", headings[kind])
		columns := []string{"row", "cowhand", "qemu-nbd", "nbdkit", "ratio"}
		if kind != kindPlain {
			columns = append(columns, durably, "ratio to that")
		}
		t := newPage(columns...)
		for _, p := range all {
			if p.kind != kind {
				continue
			}
			for _, r := range p.rows {
				cells := []string{r.name}
				for _, f := range r.figures {
					cells = append(cells, r.say(f))
				}
				cells = append(cells, ratio(r.figures[0], r.figures[1:]...))
				if r.first {
					like, _, _ := strings.Cut(ratio(r.figures[0], r.durable), " ")
					cells = append(cells, r.say(r.durable), like)
				}
				t.row(cells...)
			}
		}
		if err := t.print(); err != nil {
			return err
		}
	}
	fmt.Print(`
4K rows in thousands a second, 32 in flight unless said otherwise; 1M rows in MiB a second, 8 in flight. Write rows
last until the flush at their end is answered; nbdkit's overlay, whose flush does nothing, is synced from outside
instead. First-touch rows copy on write: cowhand 4 KiB chunks, or 64 KiB in (d), the peers 64 KiB. cowhand answers
them when the old contents, or the snapshot's new ones, and their exception are durable; the peers promise nothing
before a flush. "durable" is qemu-nbd with --cache=writethrough, which answers a write when it is durable; it counts in
no ratio but its own.
`)
	return nil
}

// say prints a figure of the row.
func (r *row) say(f figure) string {
	m := f.median()
	switch {
	case m == 0:
		return "-"
	case r.load.block == small:
		return fmt.Sprintf("%.2f k", m/small/1000)
	}
	return fmt.Sprintf("%.0f MiB", m/(1<<20))
}
