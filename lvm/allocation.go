package lvm

import (
	"context"
	"fmt"
	"slices"

	"cowhand/lvm/lvmtext"
)

// Policies are where a volume may take extents from (lvm2 2.03.16,
// lib/metadata/metadata.c, _policies; man lvm, ALLOCATION). A volume inherits that of
// its group, which is normal if it says nothing.
const (
	policyContiguous  = "contiguous"    // in one run, and behind the end
	policyCling       = "cling"         // on physical volumes that it has extents on already
	policyClingByTags = "cling_by_tags" // or on those with the same tags, which is not done here
	policyNormal      = "normal"
	policyAnywhere    = "anywhere"
	policyInherit     = "inherit"
)

// CheckPolicy reports what is no policy of a volume.
func CheckPolicy(policy string) error {
	if !slices.Contains([]string{policyContiguous, policyCling, policyClingByTags, policyNormal, policyAnywhere, policyInherit}, policy) {
		return fmt.Errorf("allocation policy %q: %w", policy, ErrInvalid)
	}
	return nil
}

// Policy is the volume's own policy.
func (lv *LV) Policy() string { return orInherit(lv.allocation) }

func orInherit(policy string) string {
	if policy == "" {
		return policyInherit
	}
	return policy
}

// Policy is what volumes inherit.
func (vg *VG) Policy() string {
	if vg.allocation == "" {
		return policyNormal
	}
	return vg.allocation
}

// policy is the one that counts for a volume.
func (vg *VG) policy(lv *LV) string {
	if p := lv.Policy(); p != policyInherit {
		return p
	}
	return vg.Policy()
}

// policyLetter is how attributes show a policy.
func policyLetter(policy string) byte {
	switch policy {
	case policyCling:
		return 'l'
	case policyClingByTags:
		return 't'
	case "":
		return 'i'
	}
	return policy[0]
}

// PolicyLetter is how the group's attributes show its policy.
func (vg *VG) PolicyLetter() byte { return policyLetter(vg.Policy()) }

// SetPolicy changes a volume's policy; what it has stays where it is.
func (vg *VG) SetPolicy(name, policy string) error {
	lv := vg.LV(name)
	switch {
	case lv == nil:
		return vg.fail(name, "allocation policy", ErrNotFound)
	case !vg.Shown(lv):
		return vg.fail(name, "allocation policy", fmt.Errorf("it is hidden: %w", ErrInvalid))
	case lv.Policy() == policy:
		return vg.fail(name, "allocation policy", fmt.Errorf("already %s: %w", policy, ErrInvalid))
	}
	if err := CheckPolicy(policy); err != nil {
		return vg.fail(name, "", err)
	}
	lv.allocation = policy
	return nil
}

// SetPolicy is [VG.SetPolicy].
func (e *Engine) SetPolicy(ctx context.Context, ref Ref, policy string) error {
	return e.change(ctx, []string{ref.VG}, func(groups map[string]*VG) (edit, error) {
		return edit{}, groups[ref.VG].SetPolicy(ref.LV, policy)
	})
}

func printPolicy(s *lvmtext.Section, policy string) {
	switch v, _ := s.Get("allocation_policy"); {
	case orInherit(policy) == policyInherit:
		s.Delete("allocation_policy")
	case !v.Equal(lvmtext.String(policy)):
		setBehind(s, beforeReadAhead[2:], "allocation_policy", lvmtext.String(policy))
	}
}

// printGroupPolicy prints where lvm2 does (lib/format_text/export.c, _print_vg).
func printGroupPolicy(s *lvmtext.Section, policy string) {
	v, ok := s.Get("allocation_policy")
	if now, _ := v.String(); (policy == "" || policy == policyNormal) && !ok || ok && now == policy {
		return
	}
	setBehind(s, []string{"max_pv"}, "allocation_policy", lvmtext.String(policy))
}

// roomFor is what of a space a volume may take to become longer.
func (vg *VG) roomFor(lv *LV, free *space) *space {
	if p := vg.policy(lv); p != policyCling && p != policyClingByTags {
		return free
	}
	on := map[string]bool{}
	for _, s := range lv.Segments {
		for _, a := range s.Stripes {
			on[a.PV] = true
		}
	}
	c := free.clone()
	c.runs = slices.DeleteFunc(c.runs, func(r Run) bool { return !on[r.PV] })
	return c
}

// contiguous reports a volume that must become longer in one piece, and did not.
func (vg *VG) contiguous(lv *LV, pieces int) error {
	if vg.policy(lv) == policyContiguous && pieces > 1 {
		return fmt.Errorf("no such room in one piece, and its allocation policy is contiguous: %w", ErrNoSpace)
	}
	return nil
}
