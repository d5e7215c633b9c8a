package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"cowhand/dmcore"
	"cowhand/hypervisor"
	"cowhand/lvm"
	"cowhand/orchestrator"
)

// The exit codes, kept for ever.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3 // nothing was changed
	exitCheckFailed = 4 // the check failed and the trial was discarded
	exitHalfway     = 5 // stopped half-way: cowhand recover
	exitPending     = 6 // accepted, not finished yet
	exitPlanned     = 7 // the plan has changes (--detailed-exitcode)
	exitInterrupted = 130
)

// errPending is work that was accepted and waits or goes on behind us.
var errPending = errors.New("accepted, not finished yet")

// refusals are the errors that are found before anything is touched.
var refusals = []struct {
	err  error
	code string // for search and scripts
	hint string // a command to run, or what to do
}{
	{orchestrator.ErrSetExists, "E-EXISTS", "choose another name with --set, or see what there is: cowhand ls"},
	{orchestrator.ErrNoSet, "E-NOSET", "cowhand ls"},
	{orchestrator.ErrNotOnLV, "E-DISK", "cowhand guests"},
	{orchestrator.ErrRunning, "E-RUNNING", ""},
	{orchestrator.ErrHasTrial, "E-TRIAL", "cowhand ls"},
	{orchestrator.ErrNoTrial, "E-NOTRIAL", "cowhand ls"},
	{orchestrator.ErrDamaged, "E-INVALID", "cowhand rm SET"},
	{orchestrator.ErrIncomplete, "E-MISSING", "name all devices of the groups: --devices or COWHAND_DEVICES"},
	{orchestrator.ErrConflict, "E-CONFLICT", ""},
	{orchestrator.ErrBadName, "E-NAME", ""},
	{orchestrator.ErrGuestBusy, "E-BUSY", "wait for the other run, or see it: cowhand recover --list"},
	{hypervisor.ErrNotFound, "E-NOGUEST", "cowhand guests"},
	{hypervisor.ErrExists, "E-EXISTS", "cowhand guests"},
	{hypervisor.ErrUnavailable, "E-LIBVIRT", "is libvirtd running? Another URI: --connect or LIBVIRT_DEFAULT_URI"},
	{hypervisor.ErrNotAllowed, "E-DENIED", ""},
	{lvm.ErrNotFound, "E-NOTFOUND", "cowhand lvm lvs"},
	{lvm.ErrExists, "E-EXISTS", "cowhand lvm lvs"},
	{lvm.ErrNoSpace, "E-SPACE", "free space (cowhand lvm vgs), remove a set (cowhand ls), or ask for less with --size"},
	{lvm.ErrExcluded, "E-EXCLUDED", "see activation/volume_list and tags: lvmconfig --type current activation tags"},
	{lvm.ErrReadOnly, "E-READONLY", ""},
	{lvm.ErrInvalid, "E-INVALID", ""},
	{lvm.ErrInUse, "E-INUSE", ""},
	{lvm.ErrMerging, "E-MERGING", "cowhand ls"},
	{lvm.ErrMissingPV, "E-MISSING", "name all devices of the group: --devices or COWHAND_DEVICES; or go on without what is lost, with lvm2: lvchange -ay --activationmode partial, vgreduce --removemissing"},
	{lvm.ErrDuplicate, "E-DUPLICATE", "name only one of the copies: --devices or COWHAND_DEVICES"},
	{lvm.ErrExported, "E-EXPORTED", "take it in, with lvm2: vgimport VG"},
	{lvm.ErrShared, "E-SHARED", "use lvm2 with lvmlockd, or have it make the group local: vgchange --locktype none VG"},
	{lvm.ErrForeign, "E-FOREIGN", "have its host give it up (lvm2's vgchange --systemid ID VG), or name its id in local/extra_system_ids of lvmlocal.conf"},
	{lvm.ErrUnsupported, "E-UNSUPPORTED", ""},
	{lvm.ErrMetadataFull, "E-METADATA", "remove volumes or tags that are not needed"},
	{lvm.ErrCorrupt, "E-CORRUPT", "nothing was written; copies of the metadata are in the archive directory"},
	{lvm.ErrInactive, "E-INACTIVE", ""},
	{orchestrator.ErrUnfinished, "E-HALFWAY", "cowhand recover"},
	{orchestrator.ErrStale, "E-CHANGED", "the same again, with --dry-run to look first"},
	{errDeclined, "E-DECLINED", ""},
	{errors.ErrUnsupported, "E-UNSUPPORTED", ""},
	{dmcore.ErrUnavailable, "E-ENGINE", "cowhand engine status"},
}

// report prints an error for people and returns the exit code.
func (h *host) report(ctx context.Context, err error) int {
	if err == nil {
		return exitDone
	}
	var usage *usageError
	var run *orchestrator.Failure
	var exit *exitStatus
	switch {
	case errors.As(err, &exit):
		return exit.code
	case errors.Is(err, errPending):
		return exitPending
	case errors.Is(err, errPlanned):
		return exitPlanned
	case errors.As(err, &usage):
		h.complain("usage", err.Error(), "", "cowhand help")
		return exitUsage
	case errors.As(err, &run) && errors.Is(run.State, orchestrator.ErrUnfinished):
		h.complain("E-HALFWAY", run.Error(), fmt.Sprintf("Stopped at: %s. Nothing is lost; the run can be finished.", run.Step), "cowhand recover")
		return exitHalfway
	case errors.As(err, &run):
		what := fmt.Sprintf("It was at: %s. All was undone.", run.Step)
		_, hint := classify(run.Err)
		if ctx.Err() != nil {
			h.complain("E-INTERRUPTED", "interrupted", what, "")
			return exitInterrupted
		}
		h.complain("E-FAILED", run.Error(), what, hint)
		return exitFailed
	case ctx.Err() != nil:
		h.complain("E-INTERRUPTED", "interrupted", "", "")
		return exitInterrupted
	}
	code, hint := classify(err)
	if h.changed || code == "" {
		h.complain("E-FAILED", err.Error(), "", hint)
		return exitFailed
	}
	h.complain(code, err.Error(), "Nothing was changed.", hint)
	return exitRefused
}

func classify(err error) (code, hint string) {
	for _, r := range refusals {
		if errors.Is(err, r.err) {
			return r.code, r.hint
		}
	}
	return "", ""
}

// complain prints what, why and what now.
func (h *host) complain(code, what, state, hint string) {
	lines := strings.Split(strings.TrimRight(what, "\n"), "\n")
	for _, l := range lines {
		fmt.Fprintf(h.stderr, "cowhand: error[%s]: %s\n", code, l)
	}
	if state != "" {
		fmt.Fprintf(h.stderr, "  %s\n", state)
	}
	if hint != "" {
		fmt.Fprintf(h.stderr, "  Run or do:  %s\n", hint)
	}
}

// errPlanned is a dry run that has something to do, for --detailed-exitcode.
var errPlanned = errors.New("plan has changes")

// errDeclined is a question that was not answered with yes.
var errDeclined = errors.New("declined")
