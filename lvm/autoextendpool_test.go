package lvm

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"cowhand/dmcore"
)

// poolWorld has a pool of 4 extents of data and 32 of metadata, whose kernel tells
// what the test says.
type poolWorld struct {
	*thinWorld
	tells string // the status of the pool's target
}

func newPoolWorld(t *testing.T) *poolWorld {
	w := &poolWorld{thinWorld: freshThinWorld(t)}
	w.PoolThreshold = func(*VG, *LV) int { return 70 }
	for _, s := range []thinStep{makePool, makeFirst} {
		must(t, s.do(t.Context(), w.thinWorld))
	}
	w.DM = dmcore.NewClient(dmcore.ControlFunc(func(ctx context.Context, cmd dmcore.Command, r *dmcore.Request) (*dmcore.Reply, error) {
		reply, err := w.thinKernel.Do(ctx, cmd, r)
		if err == nil && cmd == dmcore.TargetStatusOf && layerOf(r.UUID) == layerTPool {
			reply.Targets[0].Params = w.tells
		}
		return reply, err
	}))
	return w
}

// use has the kernel tell that so many percent are in use.
func (w *poolWorld) use(data, metadata int) {
	w.tells = fmt.Sprintf("1 %d/100 %d/100 - rw discard_passdown queue_if_no_space - 1", metadata, data)
}

func (w *poolWorld) extend() ([]Autoextended, Fills) {
	w.t.Helper()
	done, fills, err := w.Autoextend(w.t.Context(), func(_ *VG, lv *LV) ExtendPolicy {
		if lv.Name != "pool" {
			w.t.Errorf("the policy is asked for %s", lv.Name)
		}
		return ExtendPolicy{Threshold: 70, Amount: 20}
	})
	must(w.t, err)
	return done, fills
}

// parts tells how many extents data and metadata have, and what the kernel has.
func (w *poolWorld) parts() string {
	w.t.Helper()
	vg := w.rig.load(w.t, "vg")
	pool := vg.LV("pool")
	p := pool.ThinPool()
	table := w.devs[vg.uuid(pool, layerTPool)].live
	low := table[0].Target.(dmcore.ThinPool).LowWater
	return fmt.Sprintf("%d data, %d metadata, %d spare, low water %d of %d", vg.LV(p.Data).Extents(), vg.LV(p.Metadata).Extents(), vg.spareLV().Extents(),
		low, table.Len()/pool.Segments[0].ChunkSize)
}

func TestAutoextendPool(t *testing.T) {
	for _, tt := range []struct {
		name           string
		data, metadata int
		free           Extents // what is left in the group; 0: enough
		want           string
		extended       string // what was done
	}{
		{"nothing", 70, 70, 0, "4 data, 32 metadata, 32 spare, low water 1 of 4", ""},
		{"data", 71, 70, 0, "5 data, 32 metadata, 32 spare, low water 1 of 5", "data 512→640 <nil>"},
		{"data by more", 100, 0, 0, "6 data, 32 metadata, 32 spare, low water 1 of 6", "data 512→768 <nil>"},
		{"metadata", 0, 71, 0, "4 data, 39 metadata, 39 spare, low water 1 of 4", "metadata 4096→4992 <nil>"},
		{"both", 71, 71, 0, "5 data, 39 metadata, 39 spare, low water 1 of 5", "metadata 4096→4992 <nil> data 512→640 <nil>"},
		{"both, room for metadata", 71, 71, 7, "4 data, 39 metadata, 32 spare, low water 1 of 4", "metadata 4096→4992 <nil> data 512→512 no space"},
		{"both, room for data", 71, 71, 1, "5 data, 32 metadata, 32 spare, low water 1 of 5", "metadata 4096→4096 no space data 512→640 <nil>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newPoolWorld(t)
			w.t = t
			if tt.free > 0 {
				n := w.rig.load(t, "vg").FreeExtents() - tt.free
				_, err := w.Create(t.Context(), "vg", StripedSpec{LinearSpec: LinearSpec{Name: "rest", Size: extents(n)}}, false)
				must(t, err)
			}
			w.use(tt.data, tt.metadata)
			done, fills := w.extend()
			said := ""
			for _, a := range done {
				why := a.Err
				if errors.Is(why, ErrNoSpace) {
					why = ErrNoSpace
				}
				said += fmt.Sprintf(" %s %d→%d %v", a.Part, a.Was, a.Is, why)
			}
			if said != "" {
				said = said[1:]
			}
			if got := w.parts(); got != tt.want || said != tt.extended {
				t.Errorf("%s (%s)\nwant %s (%s)", got, said, tt.want, tt.extended)
			}
			for _, f := range fills.Spaces {
				for _, a := range done {
					if grew := a.Err == nil; a.Space == f.Space && grew != (f.Used < a.Used) {
						t.Errorf("%s was %.1f%% full and is %.1f%%: %+v", f.Space, a.Used, f.Used, a)
					}
				}
			}
			if len(fills.Spaces) != 2 || len(fills.Events) != 1 {
				t.Errorf("fills %+v", fills)
			}
			w.use(10, 10)
			if done, _ := w.extend(); len(done) != 0 {
				t.Errorf("extended again: %+v", done)
			}
		})
	}
}

// What a pool that is not well tells is no reason to extend it.
func TestAutoextendPoolNotWell(t *testing.T) {
	w := newPoolWorld(t)
	was := w.parts()
	w.tells = "Fail"
	if done, fills := w.extend(); len(done) != 0 || len(fills.Spaces) != 1 || !fills.Spaces[0].Lost {
		t.Errorf("failed: %+v, %+v", done, fills)
	}
	w.tells = "Error"
	if done, fills := w.extend(); len(done) != 0 || len(fills.Spaces) != 0 {
		t.Errorf("cannot be read: %+v, %+v", done, fills)
	}
	w.tells = "1 90/100 90/100 - ro discard_passdown queue_if_no_space needs_check 1"
	if done, _ := w.extend(); len(done) != 1 || !errors.Is(done[0].Err, ErrInUse) {
		t.Errorf("needs a check: %+v", done)
	}
	if got := w.parts(); got != was {
		t.Errorf("%s, was %s", got, was)
	}
}
