package dmcore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// The limits of thin pools (Linux 6.1, drivers/md/dm-thin.c and
// drivers/md/dm-thin-metadata.h).
const (
	MinThinBlock   Sectors = 128     // DATA_DEV_BLOCK_SIZE_MIN_SECTORS; sizes are multiples of it
	MaxThinBlock   Sectors = 2097152 // DATA_DEV_BLOCK_SIZE_MAX_SECTORS
	MaxThinID      uint32  = 1<<24 - 1
	thinPoolType           = "thin-pool"
	thinType               = "thin"
	minThinPoolArg         = 4
)

// ThinPool is where thin devices keep their blocks: which are mapped is in
// Metadata, what they hold in Data (drivers/md/dm-thin.c, pool_ctr). A device
// has one such segment, and takes [ThinMessage]s.
type ThinPool struct {
	Metadata, Data Dev
	BlockSize      Sectors
	LowWater       uint64 // free blocks at which an event is raised; 0: none
	Features       ThinPoolFeatures
}

// ThinPoolFeatures are what a pool does other than it would by itself.
type ThinPoolFeatures struct {
	SkipBlockZeroing  bool // new blocks show what lay there before
	IgnoreDiscard     bool
	NoDiscardPassdown bool // discards free blocks, but are not passed on to Data
	ReadOnly          bool
	ErrorIfNoSpace    bool // when full: fail writes at once instead of after a minute
}

// Thin is a thin device: number DeviceID of a pool. What it has not mapped reads
// from ExternalOrigin, a read-only device, if that is set, and else as zeroes
// (drivers/md/dm-thin.c, thin_ctr).
type Thin struct {
	Pool           Dev
	DeviceID       uint32
	ExternalOrigin Dev
}

// words gives features their words, in the order the kernel prints them
// (drivers/md/dm-thin.c, emit_flags).
func (f *ThinPoolFeatures) words() []thinFeature {
	return []thinFeature{
		{"skip_block_zeroing", &f.SkipBlockZeroing},
		{"ignore_discard", &f.IgnoreDiscard},
		{"no_discard_passdown", &f.NoDiscardPassdown},
		{"read_only", &f.ReadOnly},
		{"error_if_no_space", &f.ErrorIfNoSpace},
	}
}

type thinFeature struct {
	word string
	on   *bool
}

// String is the count of features and their words.
func (f ThinPoolFeatures) String() string {
	var on []string
	for _, w := range f.words() {
		if *w.on {
			on = append(on, w.word)
		}
	}
	return strings.Join(append([]string{strconv.Itoa(len(on))}, on...), " ")
}

func (ThinPool) Type() string { return thinPoolType }
func (Thin) Type() string     { return thinType }

// Params is without the blank that the kernel leaves at the end of a pool's.
func (t ThinPool) Params() string {
	return fmt.Sprintf("%s %s %d %d %s", quoteArg(string(t.Metadata)), quoteArg(string(t.Data)), t.BlockSize, t.LowWater, t.Features)
}

func (t Thin) Params() string {
	p := fmt.Sprintf("%s %d", quoteArg(string(t.Pool)), t.DeviceID)
	if t.ExternalOrigin != "" {
		p += " " + quoteArg(string(t.ExternalOrigin))
	}
	return p
}

func (t ThinPool) Devs() []Dev { return []Dev{t.Metadata, t.Data} }
func (t Thin) Devs() []Dev {
	if t.ExternalOrigin == "" {
		return []Dev{t.Pool}
	}
	return []Dev{t.Pool, t.ExternalOrigin}
}

func (t ThinPool) withDevs(f func(Dev) (Dev, error)) (Target, error) {
	err := mapDevs(f, &t.Metadata, &t.Data)
	return t, err
}

func (t Thin) withDevs(f func(Dev) (Dev, error)) (Target, error) {
	devs := []*Dev{&t.Pool}
	if t.ExternalOrigin != "" {
		devs = append(devs, &t.ExternalOrigin)
	}
	err := mapDevs(f, devs...)
	return t, err
}

// parseThinPool reads metadata and data device, block size, low water mark and,
// if they are there, a count of features and their words.
func parseThinPool(args []string, bad func(string) error) (Target, error) {
	const want = "metadata and data device, block size, low water mark, then a count of features and each"
	if len(args) < minThinPoolArg {
		return nil, bad(want)
	}
	block, err1 := parseSectors(args[2])
	low, err2 := strconv.ParseUint(args[3], 10, 64)
	if err1 != nil || err2 != nil {
		return nil, bad(want)
	}
	t := ThinPool{Metadata: Dev(args[0]), Data: Dev(args[1]), BlockSize: block, LowWater: low}
	args = args[minThinPoolArg:]
	if len(args) == 0 {
		return t, nil
	}
	if n, err := strconv.Atoi(args[0]); err != nil || n != len(args)-1 {
		return nil, bad(want)
	}
	for _, arg := range args[1:] {
		known := false
		for _, w := range t.Features.words() {
			if w.word == arg {
				*w.on, known = true, true
			}
		}
		if !known {
			return nil, bad("no feature " + strconv.Quote(arg))
		}
	}
	return t, nil
}

func parseThin(args []string, bad func(string) error) (Target, error) {
	const want = "pool, device id and perhaps an external origin"
	if len(args) != 2 && len(args) != 3 {
		return nil, bad(want)
	}
	id, err := strconv.ParseUint(args[1], 10, 32)
	if err != nil || uint32(id) > MaxThinID {
		return nil, bad(want)
	}
	t := Thin{Pool: Dev(args[0]), DeviceID: uint32(id)}
	if len(args) == 3 {
		t.ExternalOrigin = Dev(args[2])
	}
	return t, nil
}

// ThinMessage is the text of a message to a pool (drivers/md/dm-thin.c,
// pool_message). The kernel commits the pool's metadata after each that it
// carried out, and refuses all while the pool is read-only or failed.
type ThinMessage string

// CreateThin makes an empty thin device. An id in use gives ErrExists.
func CreateThin(id uint32) ThinMessage { return ThinMessage(fmt.Sprintf("create_thin %d", id)) }

// CreateThinSnapshot makes a thin device that shares all blocks with another,
// which must be suspended if it is active.
func CreateThinSnapshot(id, origin uint32) ThinMessage {
	return ThinMessage(fmt.Sprintf("create_snap %d %d", id, origin))
}

// DeleteThin deletes a thin device, which must not be active.
func DeleteThin(id uint32) ThinMessage { return ThinMessage(fmt.Sprintf("delete %d", id)) }

// SetTransactionID changes the number that the pool keeps for its user.
func SetTransactionID(from, to uint64) ThinMessage {
	return ThinMessage(fmt.Sprintf("set_transaction_id %d %d", from, to))
}

// SendThin sends messages to a pool, in order, until one fails.
func (c *Client) SendThin(ctx context.Context, pool UUID, messages ...ThinMessage) error {
	for _, m := range messages {
		if _, err := c.ctl.Do(ctx, Message, &Request{UUID: pool, Text: string(m)}); err != nil {
			return fmt.Errorf("message %q: %w", m, err)
		}
	}
	return nil
}
