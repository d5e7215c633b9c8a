// Package orchestrator does what the user asked for: it plans a workflow as a
// list of small steps, writes the plan and each step to a journal, and can
// finish or undo a run whose process died.
//
//	facts ──plan──▶ Plan (values) ──run──▶ journal: doing 0, done 0, doing 1, …
//	                                            │ error or crash
//	                before NoReturn ◀───────────┴──────────▶ from NoReturn on
//	                undo in reverse                          do the rest
//
// Planning is pure: the Plan functions take [Facts] and a request and return a
// plan or every blocker there is, and touch nothing. Steps are data; Do and
// Undo are idempotent, so that recovery needs no special cases: whatever was
// under way is done again, or undone although it may never have been done.
//
// The truth about sets is in LVM tags (see [Set]); the journal only tells what
// was going on. Deleting the state directory loses no set.
package orchestrator
