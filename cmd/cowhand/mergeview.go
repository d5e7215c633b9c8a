package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"cowhand/dmcore"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

// watchMerges waits for merges that run side by side, and tells at each interval
// how each of them goes and, of several, all together.
func (h *host) watchMerges(ctx context.Context, e *lvm.Engine, refs []lvm.Ref, interval time.Duration) error {
	view := &mergeView{of: len(refs), now: time.Now, tell: h.progress, seen: map[lvm.Ref]*mergeSeen{}}
	errs := make([]error, len(refs))
	var wg sync.WaitGroup
	for i, r := range refs {
		wg.Go(func() { errs[i] = e.WaitMerge(ctx, []lvm.Ref{r}, interval, view.put) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// mergeView adds up how several merges go.
type mergeView struct {
	of   int
	now  func() time.Time
	tell func(orchestrator.Event)

	mu   sync.Mutex
	seen map[lvm.Ref]*mergeSeen
}

// mergeSeen is one of them since it was first seen.
type mergeSeen struct {
	since       time.Time
	first, left int64 // bytes still to be copied, then and now
	told        bool  // since all were told of together
}

// put tells of one merge and, when each that is not done was told of, of all.
func (v *mergeView) put(p lvm.MergeProgress) {
	v.mu.Lock()
	defer v.mu.Unlock()
	now, left := v.now(), p.Left.Bytes()
	s := v.seen[p.Snapshot]
	if s == nil {
		s = &mergeSeen{since: now, first: left}
		v.seen[p.Snapshot] = s
	}
	s.left, s.told = left, true
	v.tell(orchestrator.Event{What: "merging", Volume: p.Origin.String(), Percent: p.Percent, Left: left,
		Text: pace(s.first-left, left, now.Sub(s.since))})
	if v.of > 1 {
		v.putAll(now)
	}
}

func (v *mergeView) putAll(now time.Time) {
	if len(v.seen) < v.of {
		return
	}
	since, done := now, 0
	var first, left int64
	for _, s := range v.seen {
		if !s.told && s.left > 0 {
			return
		}
		if s.since.Before(since) {
			since = s.since
		}
		if s.left == 0 {
			done++
		}
		first, left = first+s.first, left+s.left
	}
	for _, s := range v.seen {
		s.told = false
	}
	percent := 100.0
	if first > 0 {
		percent = 100 * float64(first-left) / float64(first)
	}
	text := fmt.Sprintf("%d of %d done", done, v.of)
	if p := pace(first-left, left, now.Sub(since)); p != "" {
		text += ", " + p
	}
	v.tell(orchestrator.Event{What: "merging", Percent: percent, Left: left, Text: text})
}

// pace is how fast bytes were done in a time and, if some are left, how long those
// will take; empty before anything was done.
func pace(done, left int64, in time.Duration) string {
	if done <= 0 || in <= 0 {
		return ""
	}
	rate := float64(done) / in.Seconds()
	text := lvm.HumanSize(dmcore.Sectors(rate/dmcore.SectorSize)) + "/s"
	if left > 0 {
		text += ", done in " + time.Duration(float64(left)/rate*float64(time.Second)).Round(time.Second).String()
	}
	return text
}
