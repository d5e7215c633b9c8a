package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"cowhand/dmcore"
	"cowhand/hypervisor"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

func guestsCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "guests", Category: "look", Usage: "guests, their disks, and the volume behind each",
		Action: action(func(ctx context.Context, c *cli.Context) error {
			if _, err := arguments(c, 0, 0, "no argument"); err != nil {
				return err
			}
			_, f, err := h.facts(ctx)
			if err != nil {
				return err
			}
			holds, err := (&orchestrator.Files{Dir: h.StateDir}).Holds()
			if err != nil {
				return err
			}
			t := table{Name: "guests", Columns: []column{{"guest", "GUEST"}, {"state", "STATE"}, {"disk", "DISK"}, {"kind", "KIND"},
				{"source", "SOURCE"}, {"volume", "VOLUME"}, {"size", "SIZE"}, {"sets", "SETS"}}}
			for _, g := range sortedGuests(f) {
				h.noteStalled(f, g)
				h.notePaused(holds, g)
				if len(g.Disks) == 0 {
					t.Rows = append(t.Rows, row{"guest": g.Name, "state": g.State.String()})
				}
				for _, d := range g.Disks {
					r := row{"guest": g.Name, "state": g.State.String(), "disk": d.Target, "kind": d.Kind.String(), "source": d.Source}
					if d.OnLV {
						r["volume"] = d.LV.String()
						r["size"] = sizeOf(f, d.LV)
					}
					sets := []string{}
					for _, s := range f.Sets {
						if slices.ContainsFunc(s.Members, func(m orchestrator.Member) bool { return d.OnLV && m.Origin == d.LV }) {
							sets = append(sets, s.Name)
						}
					}
					r["sets"] = sets
					t.Rows = append(t.Rows, r)
				}
			}
			return h.print(t)
		}),
	}
}

// noteStalled tells how to go on with a guest that an error of a volume of the
// engine has stopped: the engine died under it, and libvirt before 9.2 does not
// let QEMU wait for it (docs/engine.md). QEMU connects anew when the guest goes
// on, and tries again what failed.
func (h *host) noteStalled(f *orchestrator.Facts, g *orchestrator.GuestFacts) {
	if g.State != hypervisor.Stalled {
		return
	}
	for _, d := range g.Disks {
		if st := f.States[d.LV].Snapshot; d.OnLV && st != nil && st.State == dmcore.SnapshotInvalid {
			h.note("%s is paused: %s behind its disk %s ran full, and is lost", g.Name, d.LV, d.Target)
			return
		}
	}
	for _, d := range g.Disks {
		if d.OnLV && d.Kind == hypervisor.NBD {
			h.note("%s is paused because its disk %s failed, as when the engine dies. Nothing it wrote is lost.\n"+
				"  Go on with:  virsh resume %s    (and again, should it pause once more: the first time connects)", g.Name, d.Target, g.Name)
			return
		}
	}
}

// notePaused tells why the monitor paused a guest.
func (h *host) notePaused(holds []orchestrator.Hold, g *orchestrator.GuestFacts) {
	for _, hold := range holds {
		if hold.UUID == g.UUID && g.State == hypervisor.Paused && !hold.LetGo {
			h.note("since %s %s", hold.Since.Local().Format("2006-01-02 15:04:05"), hold.Paused())
		}
	}
}

func sortedGuests(f *orchestrator.Facts) []*orchestrator.GuestFacts {
	var list []*orchestrator.GuestFacts
	for _, g := range f.Guests {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *orchestrator.GuestFacts) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func sizeOf(f *orchestrator.Facts, r lvm.Ref) string {
	for _, vg := range f.Groups {
		if lv := vg.LV(r.LV); vg.Name == r.VG && lv != nil {
			return lvm.HumanSize(vg.Size(lv))
		}
	}
	return ""
}

func lsCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "ls", Aliases: []string{"list"}, Category: "look", Usage: "sets: snapshots, trials and clones", ArgsUsage: "[GUEST]",
		Action: action(func(ctx context.Context, c *cli.Context) error {
			args, err := arguments(c, 0, 1, "at most one GUEST")
			if err != nil {
				return err
			}
			_, f, err := h.facts(ctx)
			if err != nil {
				return err
			}
			t := table{Name: "sets", Columns: []column{{"set", "SET"}, {"guest", "GUEST"}, {"role", "ROLE"}, {"runs_as", "RUNS AS"},
				{"taken", "TAKEN"}, {"age", "AGE"}, {"grade", "GRADE"}, {"disks", "DISKS"}, {"used", "COW USED"}, {"state", "STATE"}}}
			for _, s := range f.Sets {
				if len(args) > 0 && s.Guest != args[0] {
					continue
				}
				used, state := setUse(f, s)
				t.Rows = append(t.Rows, row{"set": s.Name, "guest": s.Guest, "role": string(s.Role), "runs_as": s.As,
					"taken": s.Time.Local().Format("2006-01-02 15:04:05"), "age": age(time.Since(s.Time)), "grade": string(s.Grade),
					"disks": len(s.Members), "used": used, "state": state})
			}
			return h.print(t)
		}),
	}
}

// setUse sums up how full a set's stores are, and its worst state.
func setUse(f *orchestrator.Facts, s *orchestrator.Set) (used, state string) {
	var allocated, total dmcore.Sectors
	if s.Torn {
		return "", "not cut"
	}
	state = "active"
	for _, m := range s.Members {
		st := f.States[m.Snapshot]
		switch {
		case st.Snapshot != nil && st.Snapshot.State != dmcore.SnapshotOK:
			return "", "invalid"
		case st.Merging && st.Copying:
			state = "merging"
		case st.Merging:
			state = "merge waits"
		case !st.Active && state == "active":
			state = "inactive"
		}
		if st.Snapshot != nil {
			allocated += st.Snapshot.Allocated
			total += st.Snapshot.Total
		}
	}
	if total == 0 {
		return poolUse(f, s), state
	}
	return fmt.Sprintf("%s/%s %.0f%%", lvm.HumanSize(allocated), lvm.HumanSize(total), 100*float64(allocated)/float64(total)), state
}

// poolUse is how full the fullest pool of a thin set is.
func poolUse(f *orchestrator.Facts, s *orchestrator.Set) string {
	fullest, name := -1.0, ""
	for _, m := range s.Members {
		for _, vg := range f.Groups {
			if !m.Thin || vg.Name != m.Snapshot.VG {
				continue
			}
			pool := lvm.Ref{VG: vg.Name, LV: vg.LV(m.Snapshot.LV).Thin().Pool}
			if st := f.States[pool].Pool; st != nil {
				if p, ok := st.DataPercent(); ok && p > fullest {
					fullest, name = p, pool.String()
				}
			}
		}
	}
	if name == "" {
		return ""
	}
	return fmt.Sprintf("%s %.0f%%", name, fullest)
}

func age(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func showCommand(h *host) *cli.Command {
	return &cli.Command{
		Name: "show", Category: "look", Usage: "one set in detail", ArgsUsage: "SET",
		Action: action(func(ctx context.Context, c *cli.Context) error {
			args, err := arguments(c, 1, 1, "SET")
			if err != nil {
				return err
			}
			_, f, err := h.facts(ctx)
			if err != nil {
				return err
			}
			s := f.Set(args[0])
			if s == nil {
				return &refusal{fmt.Sprintf("set %q: no such set", args[0]), orchestrator.ErrNoSet}
			}
			t := table{Name: "members", Columns: []column{{"set", "SET"}, {"disk", "DISK"}, {"origin", "ORIGIN"}, {"snapshot", "SNAPSHOT"},
				{"size", "COW SIZE"}, {"percent", "USED%"}, {"chunk", "CHUNK"}, {"open", "OPEN"}, {"state", "STATE"}, {"uri", "URI"}}}
			for _, m := range s.Members {
				st := f.States[m.Snapshot]
				one := *s
				one.Members = []orchestrator.Member{m}
				_, state := setUse(f, &one)
				r := row{"set": s.Name, "disk": m.Disk, "origin": m.Origin.String(), "snapshot": m.Snapshot.String(),
					"size": sizeOf(f, m.Snapshot), "open": st.OpenCount, "state": state, "uri": h.whereIs(m.Snapshot)}
				if st.Snapshot != nil {
					r["percent"] = st.Snapshot.Percent()
				}
				for _, vg := range f.Groups {
					if seg := vg.Snapshot(m.Snapshot.LV); vg.Name == m.Snapshot.VG && seg != nil {
						r["chunk"] = lvm.HumanSize(seg.ChunkSize)
					}
				}
				t.Rows = append(t.Rows, r)
			}
			return h.print(t)
		}),
	}
}
