package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrCorrupt is a journal that is damaged elsewhere than in its last line.
var ErrCorrupt = errors.New("journal is damaged")

// Kind says what a record tells.
type Kind string

// The kinds of records, in the order a run writes them.
const (
	Begin   Kind = "begin"   // Data is the plan
	Doing   Kind = "doing"   // Step is about to be done
	Done    Kind = "done"    // Step was done
	Failed  Kind = "failed"  // Step failed, Result says why
	Undoing Kind = "undoing" // Step is about to be undone
	Undone  Kind = "undone"  // Step was undone
	End     Kind = "end"     // Result says how the run ended
)

// Record is one line of a journal.
type Record struct {
	Seq    int             `json:"seq"`
	Kind   Kind            `json:"kind"`
	Step   int             `json:"step"`
	Result string          `json:"result,omitempty"`
	Time   string          `json:"time,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"`
}

type line struct {
	CRC string          `json:"crc"`
	Rec json.RawMessage `json:"rec"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r Record) marshal() ([]byte, error) {
	rec, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(line{fmt.Sprintf("%08x", crc32.Checksum(rec, castagnoli)), rec})
	return append(b, '\n'), err
}

func unmarshal(b []byte) (Record, error) {
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return Record{}, err
	}
	if sum := fmt.Sprintf("%08x", crc32.Checksum(l.Rec, castagnoli)); sum != l.CRC {
		return Record{}, fmt.Errorf("crc %s, computed %s", l.CRC, sum)
	}
	var r Record
	err := json.Unmarshal(l.Rec, &r)
	return r, err
}

// Parse reads a journal. It returns the records and how many bytes they take;
// what follows them is a torn last line. Damage before the last line is
// [ErrCorrupt], with the records before it.
func Parse(b []byte) (recs []Record, size int, err error) {
	for size < len(b) {
		end := bytes.IndexByte(b[size:], '\n')
		if end < 0 {
			return recs, size, nil
		}
		r, err := unmarshal(b[size : size+end])
		if err == nil && r.Seq != len(recs)+1 {
			err = fmt.Errorf("sequence number %d", r.Seq)
		}
		if err != nil {
			if size+end+1 == len(b) {
				return recs, size, nil
			}
			return recs, size, fmt.Errorf("record %d: %v: %w", len(recs)+1, err, ErrCorrupt)
		}
		recs = append(recs, r)
		size += end + 1
	}
	return recs, size, nil
}
