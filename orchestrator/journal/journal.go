package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"cowhand/dmcore/durable"
)

const suffix = ".jsonl"

// ErrRunning is a run whose process is alive.
var ErrRunning = errors.New("run is under way in another process")

// Dir is the folder of journals: runs that have not ended in it, those that
// have in its subfolder "done". Files are 0600, folders 0700.
type Dir struct{ path string }

// Open returns the folder, and makes it where it is missing.
func Open(path string) (*Dir, error) {
	if err := durable.MkdirAll(filepath.Join(path, "done"), 0o700); err != nil {
		return nil, err
	}
	return &Dir{path}, durable.SyncDir(filepath.Dir(path))
}

// Run is a journal that is open for writing. It is not safe for concurrent use.
type Run struct {
	ID   string
	dir  *Dir
	file *os.File
	seq  int
	size int64 // of the records that are whole
}

// Begin starts the journal of a new run with its plan as the first record.
func (d *Dir) Begin(id string, plan any) (*Run, error) {
	data, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.file(id), os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	r := &Run{ID: id, dir: d, file: f}
	if err := errors.Join(lock(f), r.Append(Record{Kind: Begin, Data: data}), durable.SyncDir(d.path)); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return r, nil
}

// Take opens the journal of a run whose process died, cuts a torn last line
// off and returns its records. [ErrRunning] if the process is alive.
func (d *Dir) Take(id string) (*Run, []Record, error) {
	f, err := os.OpenFile(d.file(id), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return nil, nil, err
	}
	fail := func(err error) (*Run, []Record, error) {
		return nil, nil, errors.Join(fmt.Errorf("run %s: %w", id, err), f.Close())
	}
	if err := lock(f); err != nil {
		return fail(err)
	}
	if _, err := os.Stat(d.file(id)); err != nil { // its process ended it between our open and our lock
		return fail(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		return fail(err)
	}
	recs, size, err := Parse(b)
	if err != nil {
		return fail(err)
	}
	if size < len(b) {
		if err := errors.Join(f.Truncate(int64(size)), f.Sync()); err != nil {
			return fail(err)
		}
	}
	return &Run{ID: id, dir: d, file: f, seq: len(recs), size: int64(size)}, recs, nil
}

// Read returns the records of a run, which may be under way.
func (d *Dir) Read(id string) ([]Record, error) {
	b, err := os.ReadFile(d.file(id))
	if err != nil {
		return nil, err
	}
	recs, _, err := Parse(b)
	return recs, err
}

// Append writes a record and returns when it is durable. It sets Seq and Time.
// After an error the record may be there or not; there is never a part of one
// with others behind it.
func (r *Run) Append(rec Record) error {
	rec.Seq, rec.Time = r.seq+1, time.Now().UTC().Format(time.RFC3339Nano)
	b, err := rec.marshal()
	if err != nil {
		return err
	}
	if _, err := r.file.Write(b); err != nil {
		return errors.Join(err, r.file.Truncate(r.size))
	}
	r.seq++
	r.size += int64(len(b))
	return r.file.Sync()
}

// End writes the last record and moves the journal to the finished ones.
func (r *Run) End(result string) error {
	if err := r.Append(Record{Kind: End, Result: result}); err != nil {
		return err
	}
	done := filepath.Join(r.dir.path, "done")
	if err := os.Rename(r.dir.file(r.ID), filepath.Join(done, r.ID+suffix)); err != nil {
		return err
	}
	return errors.Join(durable.SyncDir(done), durable.SyncDir(r.dir.path), r.file.Close())
}

// Close lets go of the run; one that has not ended waits for [Dir.Take]. It is
// idempotent.
func (r *Run) Close() error {
	if err := r.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// Unfinished lists the runs that have not ended, oldest name first, those of
// living processes among them.
func (d *Dir) Unfinished() ([]string, error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), suffix); ok {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func (d *Dir) file(id string) string { return filepath.Join(d.path, id+suffix) }
