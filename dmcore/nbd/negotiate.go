package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// errProtocol is a client that breaks the protocol so that nothing after it
// can be understood, or that asks for too much; it is hung up on.
var errProtocol = errors.New("protocol violation")

// errAborted is a client that leaves before it opened an export.
var errAborted = errors.New("client left")

// negotiator is one connection up to the transmission phase.
type negotiator struct {
	srv *Server
	ctx context.Context
	in  *input
	out interface{ Write([]byte) (int, error) }
	rep []byte // replies of the current option, written at its end

	noZeroes   bool
	structured bool
	// The export base:allocation was selected for, if it was.
	metaExport string
	meta       bool
}

// negotiate greets the client and haggles until it opens an export.
func (n *negotiator) negotiate() (*export, error) {
	b := binary.BigEndian.AppendUint64(nil, magicInit)
	b = binary.BigEndian.AppendUint64(b, magicOption)
	b = binary.BigEndian.AppendUint16(b, flagFixedNewstyle|flagNoZeroes)
	if _, err := n.out.Write(b); err != nil {
		return nil, err
	}
	if err := n.in.fill(4); err != nil {
		return nil, err
	}
	flags := binary.BigEndian.Uint32(n.in.take(4))
	if flags&^(flagFixedNewstyle|flagNoZeroes) != 0 {
		return nil, fmt.Errorf("client flags %#x are unknown: %w", flags, errProtocol)
	}
	n.noZeroes = flags&flagNoZeroes != 0

	for range maxOptions {
		opt, data, err := n.option()
		if err != nil {
			return nil, err
		}
		x, err := n.answer(opt, data)
		if _, werr := n.out.Write(n.rep); werr != nil && err == nil {
			err = werr
		}
		n.rep = n.rep[:0]
		if err != nil || x != nil {
			if err != nil && x != nil {
				x.dev.Close()
				x = nil
			}
			return x, err
		}
	}
	return nil, fmt.Errorf("more than %d options: %w", maxOptions, errProtocol)
}

// option reads one option. Its data is valid until the next.
func (n *negotiator) option() (opt uint32, data []byte, err error) {
	if err := n.in.fill(16); err != nil {
		return 0, nil, err
	}
	b := n.in.take(16)
	if magic := binary.BigEndian.Uint64(b); magic != magicOption {
		return 0, nil, fmt.Errorf("option magic %#x: %w", magic, errProtocol)
	}
	opt = binary.BigEndian.Uint32(b[8:])
	size := binary.BigEndian.Uint32(b[12:])
	if size > maxOption {
		return 0, nil, fmt.Errorf("option %d has %d bytes, more than %d: %w", opt, size, maxOption, errProtocol)
	}
	if err := n.in.fill(int(size)); err != nil {
		return 0, nil, err
	}
	return opt, n.in.take(int(size)), nil
}

// answer appends the replies to an option. An export is returned when the
// transmission phase begins after them, an error when the session ends.
func (n *negotiator) answer(opt uint32, data []byte) (*export, error) {
	switch opt {
	case optExportName:
		return n.exportName(data)
	case optAbort:
		n.reply(opt, repAck, nil)
		return nil, errAborted
	case optList:
		n.list(opt, data)
	case optInfo, optGo:
		return n.info(opt, data)
	case optStructuredReply:
		if len(data) != 0 {
			n.refuse(opt, repErrInvalid, "option carries data")
			return nil, nil
		}
		n.structured = true
		n.reply(opt, repAck, nil)
	case optListMetaContext, optSetMetaContext:
		n.metaContext(opt, data)
	default:
		n.refuse(opt, repErrUnsup, "")
	}
	return nil, nil
}

func (n *negotiator) reply(opt, kind uint32, data []byte) {
	n.rep = appendOptionReply(n.rep, opt, kind, len(data))
	n.rep = append(n.rep, data...)
}

func (n *negotiator) refuse(opt, kind uint32, message string) {
	n.rep = appendOptionReply(n.rep, opt, kind, min(len(message), maxString))
	n.rep = append(n.rep, message[:min(len(message), maxString)]...)
}

// exportName opens an export the old way, which cannot refuse but by hanging up.
func (n *negotiator) exportName(data []byte) (*export, error) {
	name := string(data)
	if !validName(name) {
		return nil, fmt.Errorf("export name of %d bytes: %w", len(name), errProtocol)
	}
	x, err := n.srv.open(n.ctx, name, n.srv.ReadOnly)
	if err != nil {
		return nil, err
	}
	n.adopt(x, name)
	n.rep = binary.BigEndian.AppendUint64(n.rep, x.size)
	n.rep = binary.BigEndian.AppendUint16(n.rep, x.flags())
	if !n.noZeroes {
		n.rep = append(n.rep, make([]byte, 124)...)
	}
	return x, nil
}

// adopt gives x what was negotiated for it.
func (n *negotiator) adopt(x *export, name string) {
	x.structured = n.structured
	x.meta = n.meta && n.metaExport == name
}

func (n *negotiator) list(opt uint32, data []byte) {
	if len(data) != 0 {
		n.refuse(opt, repErrInvalid, "option carries data")
		return
	}
	all, err := n.srv.Exports.List(n.ctx)
	if err != nil {
		n.refuse(opt, refusal(err), message(err))
		return
	}
	for _, e := range all {
		if !validName(e.Name) {
			continue // no client could ask for it
		}
		description := message(errors.New(e.Description))
		b := binary.BigEndian.AppendUint32(nil, uint32(len(e.Name)))
		b = append(b, e.Name...)
		n.reply(opt, repServer, append(b, description...))
	}
	n.reply(opt, repAck, nil)
}

// info answers INFO and GO.
func (n *negotiator) info(opt uint32, data []byte) (*export, error) {
	name, wants, ok := parseInfo(data)
	if !ok || !validName(name) {
		n.refuse(opt, repErrInvalid, "malformed option")
		return nil, nil
	}
	x, err := n.srv.open(n.ctx, name, n.srv.ReadOnly)
	if err != nil {
		n.refuse(opt, refusal(err), message(err))
		return nil, nil
	}
	n.adopt(x, name)

	b := binary.BigEndian.AppendUint16(nil, infoExport)
	b = binary.BigEndian.AppendUint64(b, x.size)
	n.reply(opt, repInfo, binary.BigEndian.AppendUint16(b, x.flags()))
	b = binary.BigEndian.AppendUint16(b[:0], infoBlockSize)
	b = binary.BigEndian.AppendUint32(b, x.minBlock)
	b = binary.BigEndian.AppendUint32(b, x.preferredBlock)
	n.reply(opt, repInfo, binary.BigEndian.AppendUint32(b, maxPayload))
	if wants[infoName] && validName(x.Name) {
		b = binary.BigEndian.AppendUint16(b[:0], infoName)
		n.reply(opt, repInfo, append(b, x.Name...))
	}
	if wants[infoDescription] && x.Description != "" {
		b = binary.BigEndian.AppendUint16(b[:0], infoDescription)
		n.reply(opt, repInfo, append(b, message(errors.New(x.Description))...))
	}
	n.reply(opt, repAck, nil)
	if opt == optGo {
		return x, nil
	}
	return nil, x.dev.Close()
}

// metaContext answers LIST_META_CONTEXT and SET_META_CONTEXT. base:allocation
// is all there is.
func (n *negotiator) metaContext(opt uint32, data []byte) {
	if opt == optSetMetaContext {
		n.meta = false // whatever becomes of this one
	}
	if !n.structured {
		n.refuse(opt, repErrInvalid, "structured replies were not negotiated")
		return
	}
	name, queries, ok := parseMetaContext(data)
	if !ok || !validName(name) {
		n.refuse(opt, repErrInvalid, "malformed option")
		return
	}
	list := opt == optListMetaContext
	found := list && len(queries) == 0
	for _, q := range queries {
		found = found || q == contextAllocation || list && q == "base:"
	}
	if found {
		id := uint32(allocationID)
		if list {
			id = 0
		} else {
			n.meta, n.metaExport = true, name
		}
		b := binary.BigEndian.AppendUint32(nil, id)
		n.reply(opt, repMetaContext, append(b, contextAllocation...))
	}
	n.reply(opt, repAck, nil)
}

// allocationID is the number of base:allocation on the wire.
const allocationID = 1
